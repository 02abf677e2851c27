"""Two complete sites: a ship that holds the sample data, an office that holds nothing yet.

They are founded by the very commands an operator would type; only the sections of datasets,
which an operator writes by hand, are written here.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import tomlkit

from mailsync.carriers.embedded import LOOPBACK, Ports
from mailsync.config import FILE_NAME
from mailsync.demo.samples import files, samples
from mailsync.files import PRIVATE_FILE, create_file

Command = Callable[..., None]
"""Carries out one command of mailsync: the configuration file, then the words typed."""

TIMERS: Final = {"poll": "5s", "acknowledge_after": "1s"}
"""A demonstration has less time than a ship."""

_TABLES: Final = """
[datasets.defects]
source = "sqlite:///pms.db"
table = "defects"
keys = "local"

[datasets.spare_parts]
source = "sqlite:///pms.db"
table = "spare_parts"
keys = "shared"
"""

_TEXTS: Final = """
[datasets.crew]
source = "vcard:{crew}"

[datasets.schedule]
source = "ical:{schedule}"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one site of the demonstration is."""

    directory: Path
    crew: Path
    """Address book: a folder of .vcf files, or one file."""
    schedule: Path
    """Schedule: a folder of .ics files, or one file."""
    password: str = field(default_factory=secrets.token_urlsafe, repr=False)

    @property
    def name(self) -> str:
        """The site's name."""
        return self.directory.name

    @property
    def address(self) -> str:
        """The site's mail address."""
        return f"sync@{self.name}.example"

    @property
    def configuration(self) -> Path:
        """The site's configuration file."""
        return self.directory / FILE_NAME

    @property
    def card(self) -> Path:
        """The site's public card, to be handed to the other."""
        return self.directory / f"{self.name}.card"

    @property
    def database(self) -> Path:
        """The database with the site's tables."""
        return self.directory / "pms.db"


@dataclass(frozen=True, slots=True)
class Places:
    """The two sites."""

    directory: Path
    ship: Place
    office: Place

    @classmethod
    def under(cls, directory: Path) -> Places:
        """A ship with one file a record, an office with one file a dataset."""
        ship, office = directory / "ship", directory / "office"
        return cls(
            directory,
            Place(ship, ship / "crew", ship / "schedule"),
            Place(office, office / "crew.vcf", office / "schedule.ics"),
        )

    @property
    def users(self) -> dict[str, str]:
        """The mailboxes: address and password."""
        return {place.address: place.password for place in (self.ship, self.office)}


def _resend_after(loss: int) -> str:
    """Soon where mails are lost; where none is, later than the slowest machine takes."""
    return "2s" if loss else "1m"


def found(places: Places, ports: Ports, command: Command, loss: int) -> None:
    """Make both sites and pair them with each other; ``loss`` percent of the mails get lost."""
    for place in (places.ship, places.office):
        _initialise(place, ports, command)
        command(place.configuration, "pair", "card", "-o", str(place.card))
    for place, peer in ((places.ship, places.office), (places.office, places.ship)):
        command(place.configuration, "pair", "add", str(peer.card))
        _hurry(place, peer, _resend_after(loss))
    _fill(places.ship)
    _prepare(places.office)


def _initialise(place: Place, ports: Ports, command: Command) -> None:
    place.directory.mkdir(parents=True)
    user = quote(place.address, safe="")
    command(
        place.configuration,
        "init",
        *("--site", place.name, "--address", place.address),
        *("--imap", f"imap://{user}@{LOOPBACK}:{ports.imap}"),
        *("--smtp", f"smtp://{user}@{LOOPBACK}:{ports.smtp}"),
    )
    create_file(place.directory / "secret", place.password.encode(), PRIVATE_FILE)
    text = place.configuration.read_text("utf-8")
    text = text.replace("[mail]\n", '[mail]\nsecret = { file = "secret" }\n', 1) + _TABLES
    text += _TEXTS.format(crew=place.crew.name, schedule=place.schedule.name)
    place.configuration.write_text(text, "utf-8")


def _hurry(place: Place, peer: Place, patience: str) -> None:
    document = tomlkit.parse(place.configuration.read_text("utf-8"))
    document["peers"][peer.name].update(TIMERS | {"resend_after": patience})
    place.configuration.write_text(tomlkit.dumps(document), "utf-8")


def _fill(place: Place) -> None:
    """The sample data."""
    with closing(sqlite3.connect(place.database)) as connection:
        connection.executescript((samples() / "ship.sql").read_text("utf-8"))
    for folder, name in ((place.crew, "contacts"), (place.schedule, "schedule")):
        folder.mkdir()
        for file in files(name):
            (folder / file.name).write_bytes(file.read_bytes())


def _prepare(place: Place) -> None:
    """Empty tables and files: mailsync fills datasets, it never makes one."""
    with closing(sqlite3.connect(place.database)) as connection:
        connection.executescript((samples() / "ship.sql").read_text("utf-8"))
        with connection:
            connection.execute("DELETE FROM defects")
            connection.execute("DELETE FROM spare_parts")
    for file in (place.crew, place.schedule):
        file.touch()
