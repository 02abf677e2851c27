"""Invented customers, contacts and events, and what people edit in them.

The same chance gives the same record. Some values are common and some are rare, as in life.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final

from mailsync.core.model import Fields, Value


def _words(text: str) -> list[str]:
    return text.split()


FIRST: Final = _words(
    "Anna Maria Peter Thomas Michael Julia Andreas Laura Stefan Sarah Martin Lena Daniel Sophie "
    "Jan Emma Markus Nina Paul Eva Lukas Katharina David Hannah Felix Clara Robert Ingrid Simon "
    "Elena Georg Petra Oliver Marta Viktor Agnes Henrik Renate Ömer Zoë Jürgen Françoise"
)
LAST: Final = _words(
    "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Koch Bauer Richter "
    "Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Werner "
    "Krause Lehmann Köhler Maier Jansen Peeters Dubois Laurent Moreau Rossi Ferrari Novak Kowalski "
    "Nielsen Hansen Larsen Virtanen Korhonen Svensson Andersson O'Brien Murphy Papadopoulos García "
    "Fernández López Silva Santos Demir Nagy Horvat Popescu Ivanov Petrov Kuznetsov"
)
CITIES: Final = _words(
    "Berlin Hamburg München Köln Frankfurt Stuttgart Bremen Leipzig Dresden Rostock Kiel Lübeck "
    "Wien Graz Linz Zürich Basel Bern Antwerpen Gent Rotterdam Utrecht Lille Lyon Marseille Genova "
    "Trieste Rijeka Gdańsk Århus Göteborg Turku"
)
STREETS: Final = _words(
    "Hauptstraße Bahnhofstraße Gartenstraße Dorfstraße Bergstraße Schulstraße Lindenweg Hafenweg "
    "Kirchgasse Marktplatz Ringstraße Industriestraße Seeweg Mühlenweg Schloßallee Nordkai "
    "Speicherstadt Werftstraße Deichweg Poststraße"
)
TRADES: Final = _words(
    "Logistik Maschinenbau Handel Elektro Bau Shipping Consulting Metall Food Papier "
    "Chemie Textil Energie Optik Holz"
)
FORMS: Final = ("GmbH", "AG", "KG", "& Co", "Ltd", "BV", "SARL")
COUNTRIES: Final = ("DE", "AT", "CH", "NL", "BE", "FR", "IT", "DK", "SE", "PL")
STATUSES: Final = ("active", "dormant", "prospect", "blocked", "closed")
NOTES: Final = (
    "call before delivery",
    "invoice by mail only",
    "prefers the morning",
    "discount agreed until the end of the year",
    "new contact person from next month",
    "delivery through gate 4",
    "asks for a quote every quarter",
    "pays late",
)
ROLES: Final = ("Purchaser", "Superintendent", "Chief Engineer", "Agent", "Accountant", "Broker")
SUBJECTS: Final = (
    "Safety drill", "Crew change", "Bunkering", "Port state inspection", "Budget review",
    "Dry dock planning", "Weekly call", "Lifeboat drill", "Audit", "Training",
)  # fmt: skip
ROOMS: Final = ("Bridge", "Mess room", "Office 2", "Conference room", "Control room", "Online")
CALLING_CODES: Final = ("49", "43", "41", "31", "32", "33")

FIRST_DAY: Final = date(2021, 11, 1)
LAST_DAY: Final = date(2026, 11, 1)


def _common(chance: random.Random, words: Sequence[str]) -> str:
    """One of the words, the earlier the likelier."""
    return words[int(len(words) * chance.random() ** 1.5)]


def _day(chance: random.Random, start: date, end: date) -> str:
    return (start + timedelta(days=chance.randrange((end - start).days))).isoformat()


def _phone(chance: random.Random) -> str:
    return f"+{_common(chance, CALLING_CODES)} {chance.randrange(10**9, 10**10)}"


def _street(chance: random.Random) -> str:
    return f"{_common(chance, STREETS)} {chance.randrange(1, 180)}"


def _mailbox(chance: random.Random, name: str, company: str) -> str:
    words = "".join(letter for letter in name.lower() if letter.isalnum() or letter == " ")
    host = "".join(letter for letter in company.lower().split("-")[0] if letter.isalnum())
    return f"{words.replace(' ', '.')}{chance.randrange(100)}@{host}.example"


def _company(chance: random.Random) -> str:
    return f"{_common(chance, LAST)} {_common(chance, TRADES)} {_common(chance, FORMS)}"


def _account(chance: random.Random) -> str:
    return f"{_common(chance, COUNTRIES)}{chance.randrange(10**19, 10**20)}"


def _note(chance: random.Random) -> str | None:
    """Nothing for every other customer."""
    case = f"{_common(chance, NOTES)}, case {chance.randrange(1000, 10_000)}"
    return case if chance.random() < 0.5 else None


def customer(chance: random.Random, _key: str) -> Fields:
    """A row of 15 columns."""
    name = f"{_common(chance, FIRST)} {_common(chance, LAST)}"
    company = _company(chance)
    return {
        "number": chance.randrange(100_000, 1_000_000),
        "name": name,
        "company": company,
        "street": _street(chance),
        "postcode": f"{chance.randrange(1000, 99999):05}",
        "city": _common(chance, CITIES),
        "country": _common(chance, COUNTRIES),
        "phone": _phone(chance),
        "email": _mailbox(chance, name, company),
        "account": _account(chance),
        "status": _common(chance, STATUSES),
        "credit_limit": 500 * chance.randrange(100),
        "balance": int(chance.lognormvariate(10, 1.5)),
        "last_order": _day(chance, FIRST_DAY, LAST_DAY),
        "note": _note(chance),
    }


_Habit = tuple[str, int, Callable[[random.Random], Value]]

CUSTOMER_HABITS: Final[tuple[_Habit, ...]] = (
    ("balance", 26, lambda chance: int(chance.lognormvariate(10, 1.5))),
    ("status", 22, lambda chance: _common(chance, STATUSES)),
    ("last_order", 20, lambda chance: _day(chance, date(2026, 11, 1), date(2026, 12, 1))),
    ("credit_limit", 10, lambda chance: 500 * chance.randrange(100)),
    ("note", 10, _note),
    ("phone", 6, _phone),
    ("account", 3, _account),
    ("street", 3, _street),
)
"""Which column people edit, how often in a hundred times, and what they write."""


def customer_again(chance: random.Random, fields: Fields) -> Fields:
    """The row with one or two other values."""
    return _edited(chance, fields, CUSTOMER_HABITS)


def contact(chance: random.Random, key: str) -> Fields:
    """A card as the vCard adapter reads it."""
    first, last = _common(chance, FIRST), _common(chance, LAST)
    company = _company(chance)
    mailbox = _mailbox(chance, f"{first} {last}", company)
    fields: dict[str, Value] = {
        "version": "VERSION:3.0",
        "uid": f"UID:{key}",
        "n": f"N:{last};{first};;;",
        "fn": f"FN:{first} {last}",
        "title": f"TITLE:{_common(chance, ROLES)}",
        "org": f"ORG:{company}",
        "email;type=internet,work": f"EMAIL;TYPE=INTERNET,WORK:{mailbox}",
        "tel;type=cell,voice": f"TEL;TYPE=CELL,VOICE:{_phone(chance)}",
        "adr;type=work": _postal(chance),
    }
    if chance.random() < 0.5:
        fields["tel;type=work"] = f"TEL;TYPE=WORK:{_phone(chance)}"
    if chance.random() < 0.3:
        fields["bday"] = f"BDAY:{_day(chance, date(1955, 1, 1), date(2004, 1, 1))}"
    if chance.random() < 0.3:
        fields["note"] = f"NOTE:{_common(chance, NOTES)}"
    return fields


def _postal(chance: random.Random) -> str:
    place = f"{_street(chance)};{_common(chance, CITIES)};;{chance.randrange(1000, 99999):05}"
    return f"ADR;TYPE=WORK:;;{place};{_common(chance, COUNTRIES)}"


CONTACT_HABITS: Final[tuple[_Habit, ...]] = (
    ("tel;type=cell,voice", 35, lambda chance: f"TEL;TYPE=CELL,VOICE:{_phone(chance)}"),
    ("title", 20, lambda chance: f"TITLE:{_common(chance, ROLES)}"),
    ("note", 20, lambda chance: f"NOTE:{_common(chance, NOTES)}"),
    ("adr;type=work", 15, _postal),
    ("org", 10, lambda chance: f"ORG:{_company(chance)}"),
)


def contact_again(chance: random.Random, fields: Fields) -> Fields:
    """The card with one or two other properties."""
    return _edited(chance, fields, CONTACT_HABITS)


def event(chance: random.Random, key: str) -> Fields:
    """An event as the iCalendar adapter reads it."""
    start = _moment(chance)
    mailbox = _mailbox(chance, _common(chance, LAST), _company(chance))
    fields: dict[str, Value] = {
        "component": "vevent",
        "uid": f"UID:{key}",
        "created": f"CREATED:{_second(chance)}",
        "sequence": "SEQUENCE:0",
        "transp": f"TRANSP:{chance.choice(('OPAQUE', 'OPAQUE', 'TRANSPARENT'))}",
        "dtstart": f"DTSTART:{start}",
        "duration": f"DURATION:PT{chance.choice((1, 1, 1, 2, 3))}H",
        "summary": f"SUMMARY:{_subject(chance)}",
        "location": f"LOCATION:{_common(chance, ROOMS)}",
        "organizer": f"ORGANIZER:mailto:{mailbox}",
        "status": "STATUS:CONFIRMED",
    }
    if chance.random() < 0.4:
        fields["description"] = f"DESCRIPTION:{_common(chance, NOTES)}"
    if chance.random() < 0.2:
        fields["rrule"] = f"RRULE:FREQ=WEEKLY;COUNT={chance.randrange(2, 53)}"
    return fields


def _second(chance: random.Random) -> str:
    day = _day(chance, FIRST_DAY, LAST_DAY).replace("-", "")
    return f"{day}T{chance.randrange(24):02}{chance.randrange(60):02}{chance.randrange(60):02}Z"


def _moment(chance: random.Random) -> str:
    day = _day(chance, date(2026, 1, 1), date(2028, 1, 1)).replace("-", "")
    return f"{day}T{chance.randrange(6, 20):02}{chance.choice((0, 0, 15, 30)):02}00Z"


def _subject(chance: random.Random) -> str:
    return f"{_common(chance, SUBJECTS)} {_common(chance, LAST)}"


EVENT_HABITS: Final[tuple[_Habit, ...]] = (
    ("dtstart", 40, lambda chance: f"DTSTART:{_moment(chance)}"),
    ("location", 20, lambda chance: f"LOCATION:{_common(chance, ROOMS)}"),
    ("description", 20, lambda chance: f"DESCRIPTION:{_common(chance, NOTES)}"),
    ("status", 10, lambda chance: f"STATUS:{chance.choice(('CANCELLED', 'TENTATIVE'))}"),
    ("summary", 10, lambda chance: f"SUMMARY:{_subject(chance)}"),
)


def event_again(chance: random.Random, fields: Fields) -> Fields:
    """The event with one or two other properties, and the number of the revision."""
    number = int(str(fields["sequence"]).partition(":")[2]) + 1
    return {**_edited(chance, fields, EVENT_HABITS), "sequence": f"SEQUENCE:{number}"}


def _edited(chance: random.Random, fields: Fields, habits: tuple[_Habit, ...]) -> Fields:
    """The record after one or two edits; never the record as it was."""
    wanted = dict(fields)
    count = chance.choice((1, 1, 1, 2, 2))
    while sum(wanted.get(name) != fields.get(name) for name in wanted) < count:
        ((name, _, write),) = chance.choices(habits, [often for _, often, _ in habits])
        wanted[name] = write(chance)
    return wanted
