from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailsync.core.mapping import Place, Source
from mailsync.core.model import Fields, Key
from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.mapping import mapped
from tests.datasets.conformance import Conformance, Stage

COLUMNS = ["name", "no", "note", "empty"]
NOTES = ["plain", 'a "quoted" word', "two\r\nlines, and a comma;", "=1+1", "ünï\U0001f6a2", ""]


class Spreadsheet:
    """Somebody who opens the file in another program, which saves all of it in its own way."""

    def __init__(self, file: Path, **style: Any) -> None:
        self.file = file
        self.style = style
        self.save([])

    def rows(self) -> list[dict[str, str]]:
        text = self.file.read_bytes().decode("utf-8-sig")
        delimiter = self.style.get("delimiter", ",")
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))

    def save(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, **self.style)
        writer.writeheader()
        writer.writerows(rows)
        self.file.write_bytes(text.getvalue().encode("utf-8-sig"))

    def others(self, key: Key) -> list[dict[str, str]]:
        return [row for row in self.rows() if [row["no"], row["name"]] != json.loads(key)]

    def put(self, key: Key, fields: Fields) -> None:
        self.save([{name: str(fields[name]) for name in COLUMNS}, *self.others(key)])

    def touch(self, key: Key) -> None:
        """Other rows first, other line ends, an empty line, a row without values."""
        here = [row for row in self.rows() if row not in self.others(key)]
        self.style["lineterminator"] = "\n" if self.style.get("lineterminator") != "\n" else "\r\n"
        self.save([*self.others(key), *here, dict.fromkeys(COLUMNS, "")])
        self.file.write_bytes(self.file.read_bytes() + b"\r\n")

    def spoil(self, key: Key) -> None:
        [row] = [row for row in self.rows() if row not in self.others(key)]
        self.save([*self.others(key), row | {"note": "\0"}])


def sample(number: int, version: int) -> Fields:
    note = NOTES[(number + version) % len(NOTES)]
    return {"no": f"{number}", "name": f"n,'{number}", "note": f"{version} {note}", "empty": ""}


def stage(directory: Path, **style: Any) -> Stage:
    user = Spreadsheet(directory / "parts.csv", **style)
    return Stage(
        CsvFile(user.file, ["no", "name"]),
        sample,
        put=user.put,
        remove=lambda key: user.save(user.others(key)),
        touch=user.touch,
        unfit=lambda fields: {**fields, "no_such_column": "1"},
        spoil=user.spoil,
    )


class TestCsv(Conformance):
    def build(self, directory: Path) -> Stage:
        return stage(directory)


class TestCsvWithSemicolonsAndEverythingQuoted(Conformance):
    def build(self, directory: Path) -> Stage:
        style = {"delimiter": ";", "quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
        return stage(directory, **style)


class TestCsvBehindAMapping(Conformance):
    def build(self, directory: Path) -> Stage:
        plain = stage(directory)
        sources: dict[str, Source] = {name: Place(name) for name in COLUMNS}
        return replace(plain, dataset=mapped(plain.dataset, "csv", sources, {}))
