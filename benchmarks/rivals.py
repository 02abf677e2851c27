"""The same edits as others would send them, each compressed with zlib at its best level.

Every rival knows records by their 16-byte GUID and sends what its format prescribes: JSON lines
and vCard or iCalendar the whole new record, CSV the old row too, a changeset the changed columns.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.material import Edit, Material
from mailsync.core.model import Fields, Key, Value

LEVEL: Final = 9
LAST_EDIT: Final = datetime(2026, 11, 20, 18, tzinfo=UTC)

Rival = Callable[[Sequence[Edit]], bytes]
"""What travels for some edits."""

INSTALL: Final = "the SQLite changeset needs apsw: pip install -e '.[benchmark]'"


class RivalMissing(Exception):
    """What a rival is made of is not installed."""


def rivals(material: Material) -> dict[str, Rival]:
    """Those that can carry the dataset, by name. Raises RivalMissing."""
    found: dict[str, Rival] = {
        "JSON lines": json_lines,
        "CSV with old": lambda edits: csv_with_old(material, edits),
        "changeset": changesets(material),
    }
    if material.text is not None:
        found["vCard/iCal"] = lambda edits: text_files(material, edits)
    return {name: _compressed(rival) for name, rival in found.items()}


def _compressed(rival: Rival) -> Rival:
    return lambda edits: zlib.compress(rival(edits), LEVEL)


def json_lines(edits: Sequence[Edit]) -> bytes:
    """One object a line: what was done, to which record, and the whole record."""
    lines = []
    for key, old, new in edits:
        done = "delete" if new is None else "insert" if old is None else "update"
        line = {"op": done, "guid": key, **_plain(new or {})}
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def csv_with_old(material: Material, edits: Sequence[Edit]) -> bytes:
    """A batch as SymmetricDS writes it: quoted values, the old row before the new one, the keys."""
    columns = material.columns

    def row(word: str, key: Key, fields: Fields) -> str:
        plain = _plain(fields)
        return ",".join([word, *map(_quoted, (key, *(plain.get(name) for name in columns)))])

    lines = ["nodeid,ship", "binary,BASE64", "channel,default", "batch,1"]
    lines += [f"table,{material.name}", "keys,guid", f"columns,guid,{','.join(columns)}"]
    for key, old, new in edits:
        if old is not None:
            lines.append(row("old", key, old))
        if new is None:
            lines.append(f"delete,{_quoted(key)}")
        elif old is None:
            lines.append(row("insert", key, new))
        else:
            lines.append(f"{row('update', key, new)},{_quoted(key)}")
    return "\n".join([*lines, "commit,1", ""]).encode()


def _quoted(value: Value) -> str:
    """Nothing for NULL; backslashes before quotes."""
    if value is None:
        return ""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def changesets(material: Material) -> Rival:
    """SQLite's session extension on a table with a GUID of 16 bytes as its primary key."""
    try:
        import apsw  # noqa: PLC0415  the one rival that is not in the standard library
    except ImportError:
        raise RivalMissing(INSTALL) from None
    columns = material.columns
    database = apsw.Connection(":memory:")
    named = ", ".join(f'"{name}"' for name in columns)
    database.execute(f"CREATE TABLE {material.name} (guid BLOB PRIMARY KEY, {named})")
    holders = ", ".join("?" * (len(columns) + 1))
    write = f"REPLACE INTO {material.name} VALUES ({holders})"
    assigned = ", ".join(f'"{name}" = ?' for name in columns)
    update = f"UPDATE {material.name} SET {assigned} WHERE guid = ?"

    def values(fields: Fields) -> list[Value]:
        plain = _plain(fields)
        return [plain.get(name) for name in columns]

    with database:
        database.executemany(
            write, ((bytes.fromhex(key), *values(row)) for key, row in material.present.items())
        )

    def changeset(edits: Sequence[Edit]) -> bytes:
        session = apsw.Session(database, "main")
        session.attach()
        database.execute("BEGIN")
        for key, old, new in edits:
            guid = bytes.fromhex(key)
            if new is None:
                database.execute(f"DELETE FROM {material.name} WHERE guid = ?", (guid,))
            elif old is None:
                database.execute(write, (guid, *values(new)))
            else:
                database.execute(update, (*values(new), guid))
        found: bytes = session.changeset()
        session.close()
        database.execute("ROLLBACK")
        return found

    return changeset


def text_files(material: Material, edits: Sequence[Edit]) -> bytes:
    """The new cards or events whole, and the UIDs of those deleted.

    Applications stamp what they change: REV in cards (RFC 6350, 6.7.4), LAST-MODIFIED in events
    (RFC 5545, 3.8.7.3). mailsync leaves such stamps to each site's own application.
    """
    assert material.text is not None
    document = material.text.parse(b"")
    name = "rev" if material.name == "contacts" else "last-modified"
    wanted = {
        edit.key: {
            **_texts(edit.new),
            name: f"{name.upper()}:{_edited_at(edit.key)}",
        }
        for edit in edits
        if edit.new is not None
    }
    gone = [str(edit.old["uid"]) for edit in edits if edit.new is None and edit.old is not None]
    return document.edited(wanted) + "".join(f"{uid}\r\n" for uid in gone).encode()


def _edited_at(key: Key) -> str:
    """Some second of the day on which the edits were made."""
    moment = LAST_EDIT - timedelta(seconds=random.Random(key).randrange(24 * 3600))
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _texts(fields: Fields) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}


def _plain(fields: Fields) -> dict[str, Value]:
    """The fields as columns; a content line without the property's name, which is the column's."""
    return {
        name: value.partition(":")[2]
        if isinstance(value, str) and value.upper().startswith(f"{name.upper()}:")
        else value
        for name, value in fields.items()
    }
