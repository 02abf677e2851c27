from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailsync.core.model import Fields, Key
from mailsync.datasets.base import Dataset
from mailsync.datasets.texts.ical import IcalFile, IcalFolder
from mailsync.datasets.texts.vcard import VcardFile, VcardFolder
from tests.datasets.conformance import Conformance, Stage


class Later:
    """A clock that is always ahead of the files, so that their status may be trusted."""

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=1)


def card(number: int, version: int) -> Fields:
    lines = {"version": "VERSION:4.0", "uid": f"UID:u-{number}", "fn": f"FN:Ann {version} Ö"}
    phone = {"tel;type=cell": f"TEL;TYPE=CELL:+{number}{version}"} if version % 2 else {}
    note = f"NOTE:{'long ' * 30 * version}é"
    labelled = "EMAIL:a@b.example\nX-ABLABEL:Ship"
    return {**lines, **phone, "note": note, "email": labelled, "photo": "PHOTO:data:x,y;z"}


def card_text(fields: Fields) -> str:
    """A card as another program writes it: other order, case, folding and line ends."""
    lines = []
    for number, value in enumerate(reversed([str(one) for one in fields.values()])):
        parts = value.split("\n")
        for part in parts:
            name = re.split("[;:]", part)[0]
            rest = part.removeprefix(name)
            group = f"g{number}." if len(parts) > 1 else ""
            lines.append(f"{group}{name.lower()}{rest[:5]}\n {rest[5:]}")
    return "\n".join(["BEGIN:VCARD", "prodid:-//other", *lines, "rev:20240101", "END:VCARD", ""])


ZONE = (
    "BEGIN:VTIMEZONE\nTZID:Oslo\nBEGIN:STANDARD\nDTSTART:19701025T030000\nTZOFFSETFROM:+0200\n"
    "TZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE"
)


def event(number: int, version: int) -> Fields:
    alarm = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nEND:VALARM"
    override: Fields = {
        "20240102T100000/recurrence-id": "RECURRENCE-ID;TZID=Oslo:20240102T100000",
        "20240102T100000/summary": f"SUMMARY:moved {version}",
    }
    return {
        "component": "vevent",
        "uid": f"UID:e-{number}",
        "dtstart": "DTSTART;TZID=Oslo:20240101T100000",
        "summary": f"SUMMARY:{'watch ' * 20 * version}å",
        "valarm": alarm,
        "timezone/Oslo": ZONE,
        **(override if version % 2 else {}),
    }


def event_text(fields: Fields) -> str:
    texts = {name: str(value) for name, value in fields.items()}
    master = [v for n, v in texts.items() if "/" not in n and n not in {"component", "valarm"}]
    moved = [v for n, v in texts.items() if n.startswith("2024")]
    parts = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", ZONE, "BEGIN:VEVENT", "DTSTAMP:2024"]
    parts += [*reversed(master), texts["valarm"], "END:VEVENT"]
    if moved:
        parts += ["BEGIN:VEVENT", *moved, texts["uid"], "DTSTAMP:2025", "END:VEVENT"]
    return "\n".join([*parts, "END:VCALENDAR", ""])


class FolderUser:
    """Somebody who works on the files of a folder, in place."""

    def __init__(self, folder: Path, text: Callable[[Fields], str]) -> None:
        self.folder = folder
        self.text = text

    def stage(self, dataset: Dataset, sample: Callable[[int, int], Fields], bad: str) -> Stage:
        return Stage(
            dataset,
            sample,
            put=lambda key, fields: self.write(key, self.text(fields)),
            remove=lambda key: (self.folder / key).unlink(),
            touch=lambda key: self.write(key, (self.folder / key).read_text() + "\n"),
            unfit=lambda fields: {**fields, bad: f"{bad.upper()}:a\r\nEND:VCARD"},
            spoil=lambda key: self.write(key, "BEGIN:VCARD\nno property\nEND:VCARD\n"),
        )

    def write(self, key: Key, text: str) -> None:
        (self.folder / key).write_bytes(text.encode())


class FileUser:
    """Somebody who works on one file with many records."""

    def __init__(self, file: Path, text: Callable[[Fields], str], block: str) -> None:
        self.file = file
        self.text = text
        self.block = re.compile(rf"BEGIN:{block}\r?\n.*?END:{block}\r?\n", re.DOTALL)

    def stage(self, dataset: Dataset, sample: Callable[[int, int], Fields], bad: str) -> Stage:
        return Stage(
            dataset,
            sample,
            put=self.put,
            remove=self.remove,
            touch=self.touch,
            unfit=lambda fields: {**fields, bad: f"{bad.upper()}:a\r\nEND:VCARD"},
            spoil=self.spoil,
        )

    def others(self, key: Key) -> str:
        text = self.file.read_bytes().decode()
        uid = f"uid:{key}\n"  # however it is folded
        return self.block.sub(
            lambda one: (
                ""
                if uid in one.group().lower().replace("\r", "").replace("\n ", "")
                else one.group()
            ),
            text,
        )

    def touch(self, _key: Key) -> None:
        self.file.write_bytes(self.file.read_bytes() + b"\n")

    def remove(self, key: Key) -> None:
        self.file.write_bytes(self.others(key).encode())

    def put(self, key: Key, fields: Fields) -> None:
        self.file.write_bytes((self.text(fields) + self.others(key)).encode())

    def spoil(self, key: Key) -> None:
        text = self.file.read_bytes().decode()
        self.file.write_bytes(text.replace(f"UID:{key}", f"UID:{key}\r\nno property").encode())


class TestVcardFolder(Conformance):
    def build(self, directory: Path) -> Stage:
        return FolderUser(directory, card_text).stage(VcardFolder(directory, Later()), card, "note")


class TestVcardFolderWithYoungFiles(Conformance):
    def build(self, directory: Path) -> Stage:
        return FolderUser(directory, card_text).stage(VcardFolder(directory), card, "note")


class TestVcardFile(Conformance):
    def build(self, directory: Path) -> Stage:
        file = directory / "cards.vcf"
        file.touch()
        return FileUser(file, card_text, "VCARD").stage(VcardFile(file), card, "note")


class TestIcalFolder(Conformance):
    def build(self, directory: Path) -> Stage:
        dataset = IcalFolder(directory, Later())
        return FolderUser(directory, event_text).stage(dataset, event, "summary")


class TestIcalFile(Conformance):
    def build(self, directory: Path) -> Stage:
        file = directory / "all.ics"
        file.touch()
        return FileUser(file, event_text, "VEVENT").stage(IcalFile(file), event, "summary")
