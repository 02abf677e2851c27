"""A table at the office is an address book on the ship."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailsync.carriers.memory import Network
from mailsync.config.loading import parse
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Peer, Site, Surroundings
from mailsync.store.state import StateStore
from tests.cycle.sites import Clock, MemoryCarrier, keys_of

OFFICE = """
[datasets.crew]
source = "sqlite:///staff.db"
table = "staff"
map = { full_name = "name", family = "surname", mobile = { field = "phone", routine = "rules.py:phone" }, kind = { value = "individual" } }
set = { department = "sea" }
"""  # noqa: E501
SHIP = """
[datasets.crew]
source = "vcard:cards"
map = { full_name = "fn", family = "n/family", mobile = "tel;type=cell", kind = "kind" }
set = { version = "3.0", "org/name" = "Aurora; Bergen" }
"""
STAFF = """
CREATE TABLE staff (
    staff_no INTEGER PRIMARY KEY, name TEXT NOT NULL, surname TEXT, phone INTEGER,
    department TEXT NOT NULL, salary REAL DEFAULT 100.0
)
"""
RULES = """
def phone_to_shared(number):
    return f"+{number}"


def phone_to_own(text):
    if not text.startswith("+"):
        raise ValueError(f"{text!r} does not begin with +")
    return int(text.replace(" ", ""))
"""
CARD = """BEGIN:VCARD
VERSION:3.0
PRODID:-//Example//Handheld//EN
UID:hers
item1.EMAIL;type=INTERNET:ann@ship.example
item1.X-ABLabel:Ship
FN:Ann Ås
N:Ås;Ann;Maria;;Capt.
KIND:individual
TEL;type=HOME:+475
tel;TYPE=VOICE;TYPE=CELL;X-LINE=2:+4711
TEL;TYPE=CELL,PREF,WORK:+4722
PHOTO;ENCODING=b;TYPE=PNG:iVBORw0KGgoAAAANSUhEUgAAAAwAAAAMCAIAAADZF8uwAAAAK
 0lEQVR42mP48OENQcQAZyksl0VD6IowVSCrY8CjAq5uSCsiKgiIDUz8CADZiesBUi54GAAAAAB
REV:2026-05-22T20:15:00Z
END:VCARD
""".replace("\n", "\r\n")


class Firm:
    """Office and ship."""

    def __init__(self, directory: Path, office: str = OFFICE, ship: str = SHIP) -> None:
        self.directory = directory
        self.network = Network()
        self.clock = Clock()
        (directory / "rules.py").write_text(RULES)
        self.cards = directory / "cards"
        self.cards.mkdir()
        self.database = sqlite3.connect(directory / "staff.db", isolation_level=None)
        self.database.execute(STAFF)
        self.sites = {"office": self._site("office", office), "ship": self._site("ship", ship)}

    def close(self) -> None:
        for site in self.sites.values():
            site.close()

    def _site(self, name: str, datasets: str) -> Site:
        [peer] = {"office", "ship"} - {name}
        text = f"""
            [site]\nname = "{name}"\nstate = "{name}.state"
            [mail]\naddress = "{name}@example.org"
            imap = "imap://localhost"\nsmtp = "smtp://localhost"
            [peers.{peer}]\ncard = "{peer}.card"
            {datasets}
        """
        settings = parse(text.encode(), self.directory / f"{name}.toml")
        accepted = {
            peer: Peer(peer, f"{peer}@example.org", keys_of(peer).public, settings.peers[peer])
        }
        store = StateStore.create(self.directory / f"{name}.state")
        with store.transaction() as transaction:
            transaction.found_site(keys_of(name).public.site_number)
        carrier = MemoryCarrier(self.network, f"{name}@example.org")
        return Site(
            settings, keys_of(name), accepted, store, carrier, Surroundings(self.clock.read)
        )

    def sync(self) -> dict[str, Report]:
        """Until nothing is sent twice in a row: what a write filled in is found a cycle later."""
        quiet = 0
        for _ in range(12):
            reports = self.round()
            quiet = 0 if sent(reports) else quiet + 1
            if quiet == 2:
                return reports
        raise AssertionError("they never come to rest")

    def round(self) -> dict[str, Report]:
        """One cycle of each site."""
        reports = {}
        for name, site in self.sites.items():
            reports[name] = asyncio.run(run_cycle(site, Extent(), Report()))
            assert not reports[name].problems, reports[name].problems
            self.network.deliver_all()
        return reports

    def staff(self) -> list[tuple[Any, ...]]:
        query = "SELECT name, surname, phone, department, salary FROM staff ORDER BY name"
        return list(self.database.execute(query))

    def card_of(self, name: str) -> Path:
        line = f"FN:{name}\r\n".encode()
        [found] = (one for one in self.cards.iterdir() if line in one.read_bytes())
        return found


def sent(reports: dict[str, Report]) -> int:
    """Records and deletes that went."""
    peers = [peer.sent for report in reports.values() for peer in report.peers.values()]
    return sum(one.upserts + one.deletes for one in peers)


@pytest.fixture
def firm(tmp_path: Path) -> Iterator[Firm]:
    firm = Firm(tmp_path)
    hire = "INSERT INTO staff (name, surname, phone, department) VALUES (?, ?, ?, 'deck')"
    firm.database.execute(hire, ("Bo Berg", "Berg", 4733))
    firm.database.execute(hire, ("Cy; the cook, junior", None, None))
    (firm.cards / "ann.vcf").write_bytes(CARD.encode())
    firm.sync()
    yield firm
    firm.close()


def test_each_side_gets_what_the_other_had_in_its_own_way(firm: Firm) -> None:
    assert firm.staff() == [
        ("Ann Ås", "Ås", 4711, "sea", 100.0),
        ("Bo Berg", "Berg", 4733, "deck", 100.0),
        ("Cy; the cook, junior", None, None, "deck", 100.0),
    ]
    assert (firm.cards / "ann.vcf").read_bytes() == CARD.encode()
    new = firm.card_of("Bo Berg")
    assert new.read_bytes().decode().split("\r\n") == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        "FN:Bo Berg",
        "KIND:individual",
        "N:Berg;;;;",
        "ORG:Aurora\\; Bergen;",
        "TEL;TYPE=cell:+4733",
        f"UID:{new.stem}",
        "END:VCARD",
        "",
    ]
    assert firm.card_of("Cy\\; the cook\\, junior").exists()


def test_an_edit_of_the_table_changes_one_value_of_the_card(firm: Firm) -> None:
    firm.database.execute("UPDATE staff SET phone = 4799, surname = 'Ås; Øy' WHERE name = 'Ann Ås'")
    firm.sync()
    wanted = CARD.replace("+4711", "+4799").replace("N:Ås;Ann", "N:Ås\\; Øy;Ann")
    wanted = wanted.replace("tel;TYPE=VOICE", "TEL;TYPE=VOICE")
    assert (firm.cards / "ann.vcf").read_bytes() == wanted.encode()


def test_an_edit_of_the_card_changes_one_column_of_the_row(firm: Firm) -> None:
    firm.database.execute("UPDATE staff SET salary = 7 WHERE name = 'Ann Ås'")
    card = firm.cards / "ann.vcf"
    card.write_bytes(CARD.replace("FN:Ann Ås", "FN:Ann\\, Ås").encode())
    firm.sync()
    assert firm.staff()[0] == ("Ann, Ås", "Ås", 4711, "sea", 7.0)


def test_what_is_not_mapped_never_travels(firm: Firm) -> None:
    firm.database.execute("UPDATE staff SET salary = salary * 2, department = 'engine'")
    card = firm.cards / "ann.vcf"
    other = CARD.replace("TEL;type=HOME:+475", "NOTE:hers").replace("+4722", "+4729")
    card.write_bytes(other.encode())
    assert sent(firm.round()) == 0
    firm.database.execute("UPDATE staff SET phone = 1 WHERE name = 'Ann Ås'")
    firm.sync()
    wanted = other.replace("+4711", "+1").replace("tel;TYPE=VOICE", "TEL;TYPE=VOICE")
    assert card.read_bytes() == wanted.encode()
    assert {row[3:] for row in firm.staff()} == {("engine", 200.0)}


def test_edits_of_unlike_fields_at_both_ends_merge(firm: Firm) -> None:
    firm.database.execute("UPDATE staff SET surname = 'Bergen' WHERE name = 'Bo Berg'")
    card = firm.card_of("Bo Berg")
    card.write_bytes(card.read_bytes().replace(b"+4733", b"+47 34"))
    firm.sync()
    assert firm.staff()[1] == ("Bo Berg", "Bergen", 4734, "deck", 100.0)
    assert b"N:Bergen;;;;" in card.read_bytes()
    assert b":+47 34\r\n" in card.read_bytes()


def test_what_is_emptied_is_removed_and_the_next_one_moves_up(firm: Firm) -> None:
    firm.database.execute("UPDATE staff SET phone = NULL WHERE name = 'Ann Ås'")
    firm.database.execute("UPDATE staff SET phone = NULL WHERE name = 'Bo Berg'")
    firm.sync()
    assert b"TEL" not in firm.card_of("Bo Berg").read_bytes()
    assert b"+4711" not in (firm.cards / "ann.vcf").read_bytes()
    assert [row[2] for row in firm.staff()] == [4722, None, None]


def test_a_table_that_has_the_shared_names_needs_no_mapping(tmp_path: Path) -> None:
    office = """
        [datasets.crew]\nsource = "sqlite:///staff.db"\ntable = "staff"
    """
    ship = """
        [datasets.crew]\nsource = "vcard:cards"
        map = { name = "fn", phone = "tel;type=cell" }
    """
    firm = Firm(tmp_path, office, ship)
    hire = "INSERT INTO staff (name, phone, department) VALUES ('Bo', 4733, 'deck')"
    firm.database.execute(hire)
    (firm.cards / "ann.vcf").write_bytes(CARD.replace("+4711", "4711").encode())
    firm.database.execute("UPDATE staff SET salary = 7")
    reports = firm.sync()
    assert list(reports["office"].held["crew"].values()) == [
        "NOT NULL constraint failed: staff.department"
    ]
    firm.database.execute("UPDATE staff SET salary = 8, phone = 4734")
    firm.sync()
    assert firm.staff() == [("Bo", None, 4734, "deck", 8.0)]
    assert b"TEL;TYPE=cell:4734\r\n" in firm.card_of("Bo").read_bytes()
    assert sent(firm.round()) == 0
    firm.close()


def test_references_are_mapped_like_other_fields(tmp_path: Path) -> None:
    office = """
        [datasets.crew]\nsource = "sqlite:///staff.db"\ntable = "people"
        map = { name = "name", boss = "chief" }
    """
    ship = """
        [datasets.crew]\nsource = "sqlite:///ship.db"\ntable = "crew"
        map = { name = "who", boss = "reports_to" }
    """
    table = "CREATE TABLE {} (id INTEGER PRIMARY KEY, {} TEXT, {} INTEGER REFERENCES {} (id))"
    aboard = sqlite3.connect(tmp_path / "ship.db", isolation_level=None)
    aboard.execute(table.format("crew", "who", "reports_to", "crew"))
    aboard.execute("INSERT INTO crew VALUES (1, 'Eva', NULL), (2, 'Dag', 1)")
    with sqlite3.connect(tmp_path / "staff.db", isolation_level=None) as ashore:
        ashore.execute(table.format("people", "name", "chief", "people"))
        ashore.execute("INSERT INTO people VALUES (1, 'Bo', 2), (2, 'Ann', 2), (7, 'Cy', 1)")
    firm = Firm(tmp_path, office, ship)
    firm.sync()
    aboard.execute(
        "UPDATE crew SET reports_to = (SELECT id FROM crew WHERE who = 'Cy') WHERE id = 2"
    )
    firm.sync()
    chains = [("Ann", "Ann"), ("Bo", "Ann"), ("Cy", "Bo"), ("Dag", "Cy"), ("Eva", None)]
    query = "SELECT a.{0}, b.{0} FROM {2} AS a LEFT JOIN {2} AS b ON b.id = a.{1} ORDER BY 1"
    assert list(firm.database.execute(query.format("name", "chief", "people"))) == chains
    assert list(aboard.execute(query.format("who", "reports_to", "crew"))) == chains
    firm.close()


def test_deletes_go_both_ways(firm: Firm) -> None:
    firm.database.execute("DELETE FROM staff WHERE name = 'Ann Ås'")
    firm.card_of("Bo Berg").unlink()
    firm.sync()
    assert [row[0] for row in firm.staff()] == ["Cy; the cook, junior"]
    assert len(list(firm.cards.iterdir())) == 1


def test_a_constant_fills_in_and_refuses(firm: Firm) -> None:
    card = firm.cards / "ann.vcf"
    card.write_bytes(CARD.replace("KIND:individual\r\n", "").encode())
    firm.sync()
    assert b"KIND:individual\r\n" in card.read_bytes()
    card.write_bytes(CARD.replace("KIND:individual", "KIND:org").replace("+4711", "+1").encode())
    reports = firm.sync()
    assert list(reports["office"].held["crew"].values()) == [
        "kind is 'org', here it is always 'individual'"
    ]
    assert firm.staff()[0][2] == 4711


def test_a_routine_that_fails_holds_its_record_with_its_own_words(firm: Firm) -> None:
    card = firm.cards / "ann.vcf"
    card.write_bytes(CARD.replace("+4711", "4711").replace("FN:Ann", "FN:Anna").encode())
    firm.database.execute("UPDATE staff SET surname = 'B' WHERE name = 'Bo Berg'")
    reports = firm.sync()
    assert list(reports["office"].held["crew"].values()) == [
        "mobile: rules.py:8: '4711' does not begin with +"
    ]
    assert firm.staff()[0][:3] == ("Ann Ås", "Ås", 4711)
    assert b"N:B;;;;" in firm.card_of("Bo Berg").read_bytes()
    card.write_bytes(card.read_bytes().replace(b":4711", b":+47 12"))
    reports = firm.sync()
    assert not any(reports["office"].held.values())
    assert firm.staff()[0][:3] == ("Anna Ås", "Ås", 4712)
