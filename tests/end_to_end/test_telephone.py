"""A telephone takes part: its applications sync with a DAV server, mailsync syncs that by mail.

The ship's address book and calendar are on Radicale; the office has folders of files, and its
staff in a table. The telephone is vdirsyncer, with its own folders.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.site_directory import COMMAND_SECONDS, SiteDirectory, pair_of_sites
from tests.servers.dav import PASSWORD, USER, DavCollection, DavServer, peer
from tests.servers.mail import MailServer

CARD = """BEGIN:VCARD
VERSION:3.0
UID:{uid}
FN:{name}
N:{name};;;;
TEL;TYPE=cell:{phone}
NOTE:berth\\, mess; watch
END:VCARD
"""

ENTRY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//telephone//EN
BEGIN:VEVENT
UID:{uid}
DTSTAMP:20240101T000000Z
DTSTART:20240301T080000Z
DTEND:20240301T120000Z
SUMMARY:{summary}
END:VEVENT
END:VCALENDAR
"""

VDIRSYNCER = """
[general]
status_path = "{status}"
[pair {scheme}]
a = "{scheme}_here"
b = "{scheme}_there"
collections = null
[storage {scheme}_here]
type = "filesystem"
path = "{folder}"
fileext = "{suffix}"
[storage {scheme}_there]
type = "{scheme}"
url = "{url}"
username = "{user}"
password = "{password}"
"""


class Application:
    """An application of the telephone: a folder, and what keeps it in step with a collection."""

    def __init__(self, path: Path, collection: DavCollection, suffix: str) -> None:
        self.folder = path / collection.scheme
        self.folder.mkdir(parents=True)
        self._home = path
        self._configuration = path / f"{collection.scheme}.ini"
        self._configuration.write_text(
            VDIRSYNCER.format(
                status=path / f"{collection.scheme}-status",
                scheme=collection.scheme,
                folder=self.folder,
                suffix=suffix,
                url=collection.server.url + collection.path,
                user=USER,
                password=PASSWORD,
            )
        )
        self._vdirsyncer = peer("vdirsyncer")
        self._run("discover")

    def sync(self) -> None:
        self._run("sync")

    def _run(self, command: str) -> None:
        done = subprocess.run(
            [self._vdirsyncer, "-c", self._configuration, command],
            input="y\n" * 10,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env={**os.environ, "HOME": str(self._home), "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr


def cards_in(folder: Path) -> dict[str, str]:
    """Name to telephone number of each card."""
    found = {}
    for file in folder.glob("*.vcf"):
        lines = {
            line.partition(":")[0].partition(";")[0]: line.partition(":")[2]
            for line in file.read_text().splitlines()
        }
        found[lines["FN"]] = lines.get("TEL", "")
    return found


@dataclass
class Chain:
    """The telephone's application, the ship with the server, the office."""

    telephone: Application
    ship: SiteDirectory
    office: SiteDirectory

    def settle(self) -> None:
        """Everybody syncs until nobody has anything new.

        What arrives at the ship in one of its two views of the address book goes on by the other
        with the next cycle.
        """
        self.telephone.sync()
        for site in (self.ship, self.office, self.ship) * 2:
            site.sync()
        self.telephone.sync()

    def staff(self) -> dict[str, str]:
        return dict(self.office.query("SELECT name, phone FROM staff"))

    def assert_all_hold(self, expected: dict[str, str]) -> None:
        assert cards_in(self.telephone.folder) == expected
        assert cards_in(self.office.path / "contacts") == expected
        assert self.staff() == expected


SECRET = f'secret = {{ command = ["echo", "{PASSWORD}"] }}'


@pytest.fixture
def people(mail_server: MailServer, radicale: DavServer, tmp_path: Path) -> Chain:
    ship, office = pair_of_sites(mail_server, tmp_path)
    book = radicale.new("carddav")
    ship.configure(
        f'\n[datasets.crew]\nsource = "{book.source}"\n{SECRET}\n'
        f'[datasets.staff]\nsource = "{book.source}"\n{SECRET}\n'
        'map = { name = "fn", phone = "tel;type=cell" }\n'
    )
    (office.path / "contacts").mkdir()
    office.execute("CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, phone TEXT)")
    office.configure(
        '\n[datasets.crew]\nsource = "vcard:contacts"\n'
        '[datasets.staff]\nsource = "sqlite:///pms.db"\ntable = "staff"\nkeys = "local"\n'
    )
    return Chain(Application(tmp_path / "telephone", book, ".vcf"), ship, office)


@pytest.fixture
def entries(mail_server: MailServer, radicale: DavServer, tmp_path: Path) -> Chain:
    ship, office = pair_of_sites(mail_server, tmp_path)
    calendar = radicale.new("caldav", "Watches")
    ship.configure(f'\n[datasets.watches]\nsource = "{calendar.source}"\n{SECRET}\n')
    (office.path / "watches").mkdir()
    office.configure('\n[datasets.watches]\nsource = "ical:watches"\n')
    return Chain(Application(tmp_path / "telephone", calendar, ".ics"), ship, office)


def test_a_telephone_a_folder_and_a_table_hold_the_same_people(people: Chain) -> None:
    contacts, folder = people.telephone.folder, people.office.path / "contacts"
    (contacts / "u1.vcf").write_text(CARD.format(uid="u1", name="Ann", phone="+1"))
    (contacts / "u2.vcf").write_text(CARD.format(uid="u2", name="Bob", phone="+2"))
    people.settle()
    people.assert_all_hold({"Ann": "+1", "Bob": "+2"})

    people.office.execute("UPDATE staff SET phone = '+11' WHERE name = 'Ann'")
    (contacts / "u2.vcf").write_text(CARD.format(uid="u2", name="Bobby", phone="+2"))
    people.office.execute("INSERT INTO staff (name, phone) VALUES ('Cid', '+3')")
    (folder / "new.vcf").write_text(CARD.format(uid="u4", name="Dee", phone="+4"))
    people.settle()
    people.assert_all_hold({"Ann": "+11", "Bobby": "+2", "Cid": "+3", "Dee": "+4"})
    assert "NOTE:berth\\, mess; watch" in (folder / "new.vcf").read_text()  # as written here

    (contacts / "u1.vcf").unlink()
    people.office.execute("DELETE FROM staff WHERE name = 'Dee'")
    people.settle()
    people.assert_all_hold({"Bobby": "+2", "Cid": "+3"})
    assert people.ship.sync()["detected"] == {}  # and then there is silence
    for site in (people.ship, people.office):
        assert [line["type"] for line in site.json("conflicts", "list")] == ["summary"]


def test_a_telephones_calendar_and_a_folder_hold_the_same_entries(entries: Chain) -> None:
    schedule, watches = entries.telephone.folder, entries.office.path / "watches"
    (schedule / "e1.ics").write_text(ENTRY.format(uid="e1", summary="Drill"))
    (watches / "e2.ics").write_text(ENTRY.format(uid="e2", summary="Inspection, deck"))
    entries.settle()
    assert summaries(watches) == ["SUMMARY:Drill", "SUMMARY:Inspection, deck"]
    assert summaries(schedule) == ["SUMMARY:Drill", "SUMMARY:Inspection"]  # so Radicale shows it
    (schedule / "e1.ics").unlink()
    entries.settle()
    assert summaries(watches) == ["SUMMARY:Inspection, deck"]


def summaries(folder: Path) -> list[str]:
    texts = (file.read_text() for file in folder.glob("*.ics"))
    return sorted(
        line for text in texts for line in text.splitlines() if line.startswith("SUMMARY")
    )
