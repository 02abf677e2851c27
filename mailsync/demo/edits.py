"""What people do to their data between two synchronizations, with programs of their own.

Nothing here knows mailsync: a database is edited by its own engine, a file as text.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from mailsync.demo.sites import Place

MERGED: Final = "D24-0005"
"""The defect of which both sites edit different fields."""

DISPUTED: Final = "D24-0007"
"""The defect of which both sites edit the same field."""

_INSERT: Final = """
INSERT INTO defects (defect_no, vessel, equipment, description, priority, status, reported_on,
                     updated_at)
VALUES (?, 'MV Aurora', ?, ?, 2, 'open', '2026-02-12', '2026-02-12 06:30:00')
"""

_NEW_CARD: Final = """\
BEGIN:VCARD
VERSION:3.0
UID:contact-41@contacts.example
N:Adeyemi;Kofi;;;
FN:Kofi Adeyemi
TITLE:Third engineer
TEL;TYPE=CELL,VOICE:+44 7700 900321
END:VCARD
"""


def edit_at_ship(ship: Place) -> list[str]:
    """A morning on board; in words."""
    _execute(ship, _INSERT, "D26-0541", "Steering gear", "Hydraulic hose of pump No. 1 sweats.")
    _update(ship, "D24-0010", status="closed")
    _execute(ship, "DELETE FROM defects WHERE defect_no = ?", "D24-0002")
    _update(ship, MERGED, status="in progress")
    _update(ship, DISPUTED, priority=1)
    _execute(ship, "UPDATE spare_parts SET quantity = 3 WHERE part_no = ?", "270-58A")
    _replace(ship.schedule / "event-01.ics", "DTSTART:20260210T0530", "DTSTART:20260210T0630")
    (ship.schedule / "task-06.ics").unlink()
    (ship.crew / "contact-41.vcf").write_bytes(_NEW_CARD.replace("\n", "\r\n").encode())
    return [
        "reports D26-0541, closes D24-0010, deletes D24-0002, takes one spare part",
        "moves a conference by an hour, drops a task, writes down a new engineer's number",
        f"{MERGED}: status is now 'in progress'; {DISPUTED}: priority is now 1",
    ]


def edit_at_office(office: Place) -> list[str]:
    """The same morning ashore; in words."""
    _execute(office, _INSERT, "D26-0542", "Bridge", "Class asks for a gyro compass record.")
    _update(office, MERGED, office_note="Gasket ordered, arrives at Piraeus.")
    _update(office, DISPUTED, priority=2)
    _replace(office.crew, "TEL;TYPE=CELL,VOICE:+1-202-555-0172", "TEL;TYPE=CELL:+1-202-555-0199")
    return [
        "reports D26-0542, under the very primary key that the ship gave to D26-0541",
        "changes Anna Lindqvist's mobile number",
        f"{MERGED}: adds a note; {DISPUTED}: priority is now 2",
    ]


def field_of(place: Place, defect_no: str, field: str) -> object:
    """What a site's table says now; None if it has no such row."""
    query = f"SELECT {field} FROM defects WHERE defect_no = ?"  # noqa: S608  our own constants
    with closing(sqlite3.connect(place.database)) as connection:
        row = connection.execute(query, (defect_no,)).fetchone()
    return None if row is None else row[0]


def _update(place: Place, defect_no: str, **values: object) -> None:
    changes = ", ".join(f"{name} = ?" for name in values)
    query = f"UPDATE defects SET {changes} WHERE defect_no = ?"  # noqa: S608  our own constants
    _execute(place, query, *values.values(), defect_no)


def _execute(place: Place, query: str, *values: object) -> None:
    with closing(sqlite3.connect(place.database)) as connection, connection:
        connection.execute(query, values)


def _replace(path: Path, old: str, new: str) -> None:
    """Change the one place in a text file where ``old`` stands."""
    before, found, after = path.read_bytes().partition(old.encode())
    if not found or old.encode() in after:
        raise ValueError(f"{path} does not hold {old} exactly once")
    path.write_bytes(before + new.encode() + after)
