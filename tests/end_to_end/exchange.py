"""Two sites that exchange three kinds of dataset by mail, and an honest look at what they hold.

``ship`` keeps a file a record, ``shore`` one file a dataset. Whether both ends are equal is
judged by the datasets themselves, taken apart here without the code under test.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.site_directory import SiteDirectory, eventually, pair_of_sites
from tests.servers.mail import MailServer

SAMPLES = Path(__file__).parents[2] / "samples"
SYNCS = 24
"""So many at most bring two sites to rest."""

DEFECTS = """
CREATE TABLE defects (id INTEGER PRIMARY KEY AUTOINCREMENT, no TEXT, title TEXT NOT NULL,
  status TEXT, note TEXT, hours REAL, photo BLOB, urgent BOOLEAN)
"""

STOCK = """
CREATE TABLE stock (vessel TEXT NOT NULL, part TEXT NOT NULL, quantity INTEGER, place TEXT,
  PRIMARY KEY (vessel, part))
"""

FILL_DEFECTS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO defects (no, title, status, note, hours, photo, urgent)
SELECT printf('D-%05d', i), 'Pump ' || i || ' leaks, größer als 3 mm', 'open',
       CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'seen ' || i END,
       i / 8.0, CASE i % 50 WHEN 0 THEN zeroblob(i) END, i % 2
FROM n
"""

FILL_STOCK = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO stock SELECT 'Aurora', printf('P-%04d', i), i * 3 % 17, 'shelf ' || i % 9 FROM n
"""

SECTIONS = """
[datasets.stock]
source = "sqlite:///pms.db"
table = "stock"
keys = "shared"

[datasets.crew]
source = "vcard:{crew}"

[datasets.schedule]
source = "ical:{schedule}"
"""

_LINE = re.compile(r"(?:([\w-]+)\.)?([\w-]+)([:;].*)")
VOLATILE = ("PRODID", "REV", "DTSTAMP", "LAST-MODIFIED")

Block = tuple[str, tuple[str, ...], tuple[Any, ...]]
"""A component of a text: its name, its lines, the components within; in no order of their own."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The two sites and the servers between them."""

    server: MailServer
    ship: SiteDirectory
    shore: SiteDirectory

    @property
    def sites(self) -> tuple[SiteDirectory, SiteDirectory]:
        return self.ship, self.shore

    def peer_of(self, site: SiteDirectory) -> SiteDirectory:
        return self.shore if site is self.ship else self.ship

    def sync(self, site: SiteDirectory, *words: str, code: int = 0) -> dict[str, Any]:
        """One sync of one site; what it sent is in the other's mailbox when this returns.

        Returns its summary about the one peer.
        """
        summary = site.sync(*words, code=code)
        self.await_delivery()
        counted: dict[str, Any] = summary["peers"][self.peer_of(site).name]
        return counted

    def settle(self) -> None:
        """Sync both sites in turn until neither has anything to say."""
        quiet = 0
        for turn in range(SYNCS):
            counted = self.sync(self.sites[turn % 2])
            moved = counted["sent"]["mails"] + counted["received"]["mails"]
            quiet = 0 if moved else quiet + 1
            if quiet == len(self.sites):
                return
        pytest.fail(f"not at rest after {SYNCS} syncs: {counted}")

    def await_delivery(self) -> None:
        """Wait until Postfix has handed over all it took."""
        queues = [self.server.root / "spool" / name for name in ("maildrop", "incoming", "active")]
        eventually(
            lambda: not any(file for queue in queues for file in _files(queue)),
            why=self.server.logs,
        )

    def assert_equal(self) -> dict[str, list[Any]]:
        """Both ends hold the same; what that is."""
        ship, shore = map(contents, self.sites)
        for name in ship | shore:
            assert ship[name] == shore[name], f"{name} differs"
        return ship

    def mailbox(self, site: SiteDirectory) -> dict[int, bytes]:
        """Every mail in a site's inbox as another client sees it."""
        return mails(self.server, site.address)

    def assert_mail_rests(self) -> None:
        """Not one mail more than there was, whoever syncs."""
        before = [len(self.mailbox(site)) for site in self.sites]
        for site in self.sites:
            assert self.sync(site)["sent"]["mails"] == 0
        assert [len(self.mailbox(site)) for site in self.sites] == before


def make_exchange(
    server: MailServer, directory: Path, *, defects: int = 20, stock: int = 10
) -> Exchange:
    """Ship holds sample data, shore nothing yet; no mail was sent so far."""
    exchange = Exchange(server, *pair_of_sites(server, directory))
    for site in exchange.sites:
        site.execute("DROP TABLE defects")
        site.execute(DEFECTS)
        site.execute(STOCK)
    ship, shore = exchange.sites
    ship.execute(FILL_DEFECTS, defects)
    ship.execute(FILL_STOCK, stock)
    ship.configure(SECTIONS.format(crew="crew", schedule="schedule"))
    shore.configure(SECTIONS.format(crew="crew.vcf", schedule="schedule.ics"))
    for folder, source in (("crew", "contacts"), ("schedule", "schedule")):
        shutil.copytree(SAMPLES / source, ship.path / folder)
    for name in ("crew.vcf", "schedule.ics"):
        (shore.path / name).touch()
    return exchange


@dataclass(frozen=True, slots=True)
class Template:
    """Two sites after their first synchronization, to be copied: that is quicker than made."""

    exchange: Exchange

    def copy(self, directory: Path) -> Exchange:
        """The same two sites elsewhere, as they were, with empty mailboxes."""
        ship, shore = (self._moved(site, directory) for site in self.exchange.sites)
        return replace(self.exchange, ship=ship, shore=shore)

    def _moved(self, site: SiteDirectory, directory: Path) -> SiteDirectory:
        with self.exchange.server.imap(site.address) as client:
            client.select("INBOX")
            client.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
            client.expunge()
        shutil.copytree(site.path, directory / site.name)
        return replace(site, path=directory / site.name)


# --- what the datasets hold ------------------------------------------------------------------


def contents(site: SiteDirectory) -> dict[str, list[Any]]:
    """Every dataset of a site, without the local keys."""
    return {
        "defects": defects(site),
        "stock": site.query("SELECT * FROM stock ORDER BY vessel, part"),
        "crew": blocks(crew(site)),
        "schedule": blocks(schedule(site)),
    }


def defects(site: SiteDirectory) -> list[Any]:
    columns = "no, title, status, note, hours, photo, urgent"
    return sorted(site.query(f"SELECT {columns} FROM defects"), key=repr)


def crew(site: SiteDirectory) -> Path:
    return _either(site, "crew", "crew.vcf")


def schedule(site: SiteDirectory) -> Path:
    return _either(site, "schedule", "schedule.ics")


def blocks(path: Path) -> list[Block]:
    """The cards or calendar components in a file or folder; each time zone once."""
    found: list[Block] = []
    for file in texts(path):
        found += _components(iter(_lines(file)))
    zones = {one for one in found if one[0] == "VTIMEZONE"}
    return sorted([one for one in found if one[0] != "VTIMEZONE"] + list(zones))


def texts(path: Path) -> list[Path]:
    """The files of an address book or schedule."""
    return sorted(one for one in path.iterdir() if one.name[0] != ".") if path.is_dir() else [path]


def stray_files(site: SiteDirectory) -> list[Path]:
    """Temporary files anywhere in the site's directory."""
    return [path for path in site.path.rglob(".*") if path.is_file()]


def _either(site: SiteDirectory, folder: str, file: str) -> Path:
    return site.path / (folder if (site.path / folder).is_dir() else file)


def _files(queue: Path) -> Iterator[Path]:
    """Of a mail queue, whose files come and go meanwhile."""
    for place, _, names in os.walk(queue):
        yield from (Path(place, name) for name in names)


def _lines(file: Path) -> list[str]:
    unfolded = re.sub(r"\r?\n[ \t]", "", file.read_bytes().decode())
    return [line for line in unfolded.splitlines() if line.strip()]


def _components(lines: Iterator[str]) -> list[Block]:
    found: list[Block] = []
    for line in lines:
        assert line.startswith("BEGIN:"), line
        name = line.removeprefix("BEGIN:").upper()
        block = _component(name, lines)
        found += block[2] if name == "VCALENDAR" else [block]
    return found


def _component(name: str, lines: Iterator[str]) -> Block:
    own: list[str] = []
    inner: list[Block] = []
    for line in lines:
        if line.upper() == f"END:{name}":
            return name, tuple(sorted(_ungrouped(own))), tuple(sorted(inner))
        if line.startswith("BEGIN:"):
            inner.append(_component(line.removeprefix("BEGIN:").upper(), lines))
        elif not line.upper().startswith(VOLATILE):
            own.append(line)
    raise AssertionError(f"{name} does not end")


def _ungrouped(lines: list[str]) -> Iterator[str]:
    """The lines, those of one vCard group as one: what a group is called means nothing."""
    groups: dict[str, list[str]] = {}
    for place, line in enumerate(lines):
        group, name, rest = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]
        groups.setdefault(group or f"{place}", []).append(f"{name.upper()}{rest}")
    return ("\n".join(sorted(group)) for group in groups.values())


# --- what users do ---------------------------------------------------------------------------


def text_line(path: Path, uid: str, name: str) -> str:
    """The value of a property of the card or event with this UID."""
    file, start, end = _place(path, uid)
    found = re.search(rf"(?m)^{name}:([^\r\n]*)", file.read_bytes().decode()[start:end])
    assert found is not None, f"{uid} has no {name}"
    return found[1]


def set_text_line(path: Path, uid: str, name: str, value: str) -> None:
    """Give a property another value, as an editor does that replaces its file."""
    file, start, end = _place(path, uid)
    text = file.read_bytes().decode()
    changed, count = re.subn(
        rf"(?m)^{name}:[^\r\n]*", lambda _: f"{name}:{value}", text[start:end], count=1
    )
    assert count == 1, f"{uid} has no {name}"
    write_whole(file, text[:start] + changed + text[end:])


def remove_text(path: Path, uid: str) -> None:
    """Delete the card with this UID."""
    file, start, end = _place(path, uid)
    if path.is_dir():
        file.unlink()
    else:
        text = file.read_bytes().decode()
        write_whole(file, text[:start] + text[end:].lstrip("\r\n"))


def add_card(path: Path, uid: str, name: str) -> None:
    """A new card."""
    lines = ("BEGIN:VCARD", "VERSION:3.0", f"UID:{uid}", f"N:{name};;;;", f"FN:{name}")
    card = "".join(f"{line}\r\n" for line in (*lines, "TITLE:new", "END:VCARD"))
    if path.is_dir():
        write_whole(path / f"{uid.partition('@')[0]}.vcf", card)
    else:
        write_whole(path, path.read_bytes().decode() + card)


def write_whole(file: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    fresh = file.with_name(f"{secrets.token_hex(4)}.editing")
    fresh.write_bytes(text.encode())
    fresh.replace(file)


def _place(path: Path, uid: str) -> tuple[Path, int, int]:
    """The file that holds this UID, and where in it the component begins and ends."""
    for file in texts(path):
        text = file.read_bytes().decode()
        found = re.search(rf"(?m)^UID:{re.escape(uid)}\r?$", text)
        if found is not None:
            start = text.rindex("BEGIN:V", 0, found.start())
            end = re.compile(r"(?m)^END:V\w+(\r?\n)?").search(text, found.end())
            assert end is not None
            return file, start, end.end()
    raise AssertionError(f"there is no {uid} in {path}")


# --- mailboxes -------------------------------------------------------------------------------


def mails(server: MailServer, address: str, folder: str = "INBOX") -> dict[int, bytes]:
    """UID to bytes of every mail in a folder."""
    with server.imap(address, folder) as client:
        return {
            int(uid): client.uid("FETCH", uid, "(BODY.PEEK[])")[1][0][1]
            for uid in client.uid("SEARCH", "ALL")[1][0].split()
        }


def flags(server: MailServer, address: str, folder: str = "INBOX") -> dict[int, frozenset[str]]:
    """UID to flags; ``\\Recent`` is the server's own."""
    with server.imap(address, folder) as client:
        lines = client.uid("FETCH", "1:*", "(FLAGS)")[1]
    found: dict[int, frozenset[str]] = {}
    for line in lines:
        match = re.search(rb"UID (\d+).*FLAGS \(([^)]*)\)", line or b"")
        if match:
            found[int(match[1])] = frozenset(match[2].decode().split()) - {"\\Recent"}
    return found
