"""What is PostgreSQL's alone: psycopg, its text forms, sequences, errors.

Rules
-----
* Values come as the server writes them, with every setting that changes how it does so fixed,
  and only those of changed rows are taken apart. Dates beyond Python's years, infinities and
  intervals therefore arrive whole.
* The driver is in autocommit mode, so that ``BEGIN`` is ours to say.
* A failed statement ends a transaction, up to the savepoint before it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader
from sqlalchemy import URL, Engine, NullPool, create_engine
from sqlalchemy.dialects import postgresql as types
from sqlalchemy.types import Uuid

from mailsync.core.model import Value
from mailsync.datasets import spelling
from mailsync.datasets.sql.engine import (
    ROWS_AT_A_TIME,
    Column,
    Differs,
    Row,
    Scan,
    TableName,
    digest,
)
from mailsync.errors import (
    BadConfiguration,
    DatasetBusy,
    DatasetError,
    DatasetLoginRefused,
    DatasetMissing,
    DatasetReadOnly,
    DatasetUnreachable,
    DiskFull,
    MailsyncError,
)

# of a refused write among several it warns besides raising the refusal itself
logging.getLogger("psycopg").setLevel(logging.ERROR)

BEGIN_READING: Final = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
BEGIN_WRITING: Final = ("BEGIN ISOLATION LEVEL READ COMMITTED", "SET CONSTRAINTS ALL DEFERRED")
CHECK_DEFERRED: Final = ("SET CONSTRAINTS ALL IMMEDIATE",)
UNFIT_VALUES: Final[tuple[type[Exception], ...]] = (OverflowError, UnicodeEncodeError)
DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (psycopg.Error, *UNFIT_VALUES)

_SETTINGS: Final = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "application_name": "mailsync",
}

_NULL: Final = "\ud800"
_END: Final = "\0"
"""Stand for NULL and behind a value as long as a line is made: no text of the server's has them."""

_WRITTEN: Final = {
    "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    _END: "\t", _NULL: "\\N",
}  # fmt: skip
"""How COPY writes what would look like its own marks, and these (sql-copy.html, "Text Format")."""

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_MEANT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_TRIGGERS: Final = (
    "SELECT count(*) FROM pg_trigger WHERE tgrelid = CAST(%s AS regclass) AND NOT tgisinternal"
)
_INTERNAL: Final = (
    "SELECT relname::text, CASE WHEN relispartition THEN 'it is a partition of another table'"
    " ELSE 'it belongs to an extension' END FROM pg_class AS c"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
    " AND (relispartition OR EXISTS (SELECT FROM pg_depend AS d"
    " WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))"
)
ROW_NAMES: Final = ("ctid",)
FOREIGN_KEYS: Final = (
    "SELECT child.relname, k.oid, own.attname, there.nspname, parent.relname, target.attname,"
    " k.confdeltype IN ('c', 'n', 'd') FROM pg_constraint AS k CROSS JOIN LATERAL"
    " unnest(k.conkey, k.confkey) WITH ORDINALITY AS one(own, target, place)"
    " JOIN pg_class AS child ON child.oid = k.conrelid"
    " JOIN pg_namespace AS here ON here.oid = child.relnamespace"
    " JOIN pg_class AS parent ON parent.oid = k.confrelid"
    " JOIN pg_namespace AS there ON there.oid = parent.relnamespace"
    " JOIN pg_attribute AS own ON own.attrelid = child.oid AND own.attnum = one.own"
    " JOIN pg_attribute AS target ON target.attrelid = parent.oid AND target.attnum = one.target"
    " WHERE k.contype = 'f' AND here.nspname = coalesce(%s, current_schema())"
    " ORDER BY child.relname, k.oid, one.place"
)
_GIVEN: Final = "last_value - CASE WHEN is_called THEN 0 ELSE 1 END"
_SEQUENCE: Final = "SELECT pg_get_serial_sequence(%s, %s)"
_ZONE: Final = re.compile(r"[+-][0-9]{2}(?::[0-9]{2}){0,2}$", re.ASCII)

_LOGIN: Final = re.compile(
    r"authentication failed|no password supplied|role .* does not exist|not permitted to log in"
    r"|no pg_hba.conf entry"
)

_REFUSALS: Final = ("22", "23", "27", "42804", "42883", "44", "54000", "P0")
"""SQLSTATE classes of what one row or value may cause (appendix A of PostgreSQL's manual)."""
_OWN: Final = re.compile(
    r"0[0-389ABFLPZ]|10|2[0-8BDF]|3[489BDF]|4[024]|5[34578]|72|F0|HV|P0|XX|", re.ASCII
)
"""All classes of PostgreSQL's own. Any other is one that a trigger made up to refuse a row."""


def files(_url: URL) -> Sequence[Path]:
    """None that we could see."""
    return ()


def place(url: URL) -> str:
    """The database and its host."""
    return f"{url.database} at {url.host or 'this machine'}"


def open_catalogue(url: URL, patience: float) -> Engine:
    """For a look at the tables of a database."""
    plain = url.set(drivername="postgresql+psycopg")
    return create_engine(plain, creator=lambda: _connect(url, patience), poolclass=NullPool)


def connect(url: URL, patience: float) -> psycopg.Connection[Any]:
    """A connection that gives values as the server writes them."""
    connection = _connect(url, patience)
    connection.autocommit = True
    for known in psycopg.adapters.types:
        connection.adapters.register_loader(known.oid, TextLoader)
        connection.adapters.register_loader(known.array_oid, TextLoader)
    return connection


def _connect(url: URL, patience: float) -> psycopg.Connection[Any]:
    if url.get_driver_name() != "psycopg":
        raise BadConfiguration(f"write postgresql+psycopg://, not {url.drivername}://")
    options = {**_SETTINGS, "lock_timeout": str(max(1, round(patience * 1000)))}
    words = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in options.items())
    # in libpq's names, of which a URL's query may say more: sslmode, passfile, service
    named: dict[str, Any] = url.translate_connect_args(database="dbname", username="user")
    return psycopg.connect(**{"connect_timeout": 30, **named, **url.query, "options": words})


def column(described: Mapping[str, Any]) -> Column:
    """A column by its type; domains count as what they are made of."""
    declared = described["type"]
    while isinstance(declared, types.DOMAIN):
        declared = declared.data_type
    spell, read = _form_of(declared)
    loss = _LARGE_OBJECTS if isinstance(declared, types.OID) else ""
    return Column(described["name"], bool(described["nullable"]), spell, read, loss=loss)


_LARGE_OBJECTS: Final = "a large object stays here, only its number travels"

_Form = tuple[spelling.Spelling, Callable[[Any], Value] | None]


def _form_of(declared: Any) -> _Form:
    """How values of a type are spelled and read; what has no form of its own is a text."""
    match declared:
        case types.NUMERIC() if not isinstance(declared, types.FLOAT):
            digits = declared.precision
            return spelling.decimal(digits, None if digits is None else declared.scale or 0), None
        case types.TIMESTAMP() if declared.timezone:
            return spelling.instant, _with_minutes
        case types.TIME() if declared.timezone:
            return spelling.text(), None
        case types.CHAR():
            return _without_zero(spelling.padded_text(declared.length)), _unpadded
        case types.VARCHAR():
            return _without_zero(spelling.text(declared.length)), None
    forms = (form for kind, form in _FORMS if isinstance(declared, kind))
    return next(forms, (_without_zero(spelling.text()), None))


def _without_zero(spell: spelling.Spelling) -> spelling.Spelling:
    def checked(value: Value) -> Value:
        spelled = spell(value)
        if isinstance(spelled, str) and "\0" in spelled:
            raise spelling.Unfit("of PostgreSQL cannot hold U+0000")
        return spelled

    return checked


def _unpadded(value: str) -> str:
    return value.rstrip(" ")


def _with_minutes(value: str) -> str:
    """The server leaves out a zone's minutes where they are zero."""
    return f"{value}:00" if _ZONE.search(value) and value[-3] in "+-" else value


def _is_true(value: str) -> bool:
    return value == "t"


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x"))


def _unescaped(found: re.Match[str]) -> str:
    return _MEANT.get(found[1], found[1])


_FORMS: Final[tuple[tuple[type | tuple[type, ...], _Form], ...]] = (
    (types.SMALLINT, (spelling.signed(16), int)),
    (types.BIGINT, (spelling.signed(64), int)),
    (types.INTEGER, (spelling.signed(32), int)),
    (types.OID, (spelling.integer(0, 2**32 - 1), int)),
    (types.REAL, (spelling.single, float)),
    ((types.DOUBLE_PRECISION, types.FLOAT), (spelling.floating, float)),
    (types.BOOLEAN, (spelling.boolean, _is_true)),
    (types.BYTEA, (spelling.blob, _bytes)),
    (types.DATE, (spelling.day, None)),
    (types.TIME, (spelling.clock, None)),
    (types.TIMESTAMP, (spelling.moment, None)),
    (types.JSONB, (spelling.document, None)),
    (Uuid, (spelling.identifier, None)),
)


def unusable(_options: Mapping[str, Any]) -> str:
    """Every table can be used."""
    return ""


def internal_tables(connection: Any) -> dict[str, str]:
    """Partitions, whose rows are those of the whole table; what extensions brought along."""
    return dict(connection.cursor().execute(_INTERNAL).fetchall())


def content(row: Row) -> bytes:
    """What a row's etag is the digest of: its line as COPY writes it."""
    line = _END.join([_NULL if text is None else text for text in row])
    for mark, written in _WRITTEN.items():  # quicker than to look at each character
        line = line.replace(mark, written)
    return f"{line}\n".encode()


def row_of(looked_at: bytes) -> Row:
    """The row of a line that COPY wrote."""
    texts = bytes(looked_at).removesuffix(b"\n").split(b"\t")
    return tuple(
        None if text == b"\\N" else _ESCAPED.sub(_unescaped, text.decode()) for text in texts
    )


def scan(connection: Any, scan: Scan, differs: Differs) -> Iterator[list[Row]]:
    """The rows that differ, by some thousand rows looked at.

    COPY is the fastest way out of the server; only lines of rows that differ are taken apart.
    """
    with connection.driver_connection.cursor() as cursor:
        query = scan.query.replace("%%", "%")  # COPY knows no parameters
        with cursor.copy(f"COPY ({query}) TO STDOUT") as lines:
            while some := list(islice(lines, ROWS_AT_A_TIME)):
                yield [row_of(line) for line in some if differs(digest(line), line)]


@contextmanager
def tolerance(_connection: Any) -> Iterator[None]:
    """The server takes no text that is not in its encoding."""
    yield


def is_undecodable(_error: Exception) -> bool:
    """Never: see ``tolerance``."""
    return False


def is_refusal(error: Exception) -> bool:
    """Does the error concern the one value or row just written, and nothing else?"""
    state = _state(error)
    is_made_up = _OWN.fullmatch(state[:2]) is None
    return isinstance(error, UNFIT_VALUES) or is_made_up or state.startswith(_REFUSALS)


def in_transaction(connection: Any) -> bool:
    """Is there a transaction, if only one to be rolled back?"""
    status = connection.driver_connection.info.transaction_status
    return status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}


def has_triggers(connection: Any, table: TableName) -> bool:
    """Does writing to the table set something else in motion?"""
    cursor = connection.cursor().execute(_TRIGGERS, (_quoted(table),))
    return bool(int(cursor.fetchone()[0]))


def addition(text: str) -> str:
    """Also where the table says that a key is always generated."""
    before, values, after = text.rpartition(" VALUES (")
    return f"{before} OVERRIDING SYSTEM VALUE{values}{after}" if values else text


def greatest_given(connection: Any, table: TableName, key: str) -> int:
    """What the key's sequence gave last, if it has one that we may look at."""
    sequence = _sequence(connection, table, key)
    if sequence is None:
        return 0
    given = connection.cursor().execute(f"SELECT {_GIVEN} FROM {sequence}")  # noqa: S608  quoted by the server
    return int(given.fetchone()[0])


def give_up_to(connection: Any, table: TableName, key: str) -> None:
    """The next row that a user inserts must not get a number that one of ours has."""
    sequence = _sequence(connection, table, key)
    if sequence is None:
        return
    greatest = f'SELECT max("{_doubled(key)}") FROM {_quoted(table)}'  # noqa: S608  quoted
    names = f"({greatest}) AS g(g), {sequence} AS s".replace("%", "%%")
    connection.cursor().execute(
        f"SELECT setval(%s, g.g) FROM {names} WHERE g.g > {_GIVEN}",  # noqa: S608  quoted
        (sequence,),
    )


def _sequence(connection: Any, table: TableName, key: str) -> str | None:
    found = connection.cursor().execute(_SEQUENCE, (_quoted(table), key)).fetchone()[0]
    return None if found is None else str(found)


def _quoted(name: TableName) -> str:
    return ".".join(f'"{_doubled(one)}"' for one in name if one is not None)


def _doubled(name: str) -> str:
    return name.replace('"', '""')


def explain(error: Exception, place: str) -> MailsyncError:
    """The error the operator reads; ``place`` names the database."""
    words = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    match _state(error):
        case "55P03" | "40001" | "40P01":
            return DatasetBusy(f"{place} is locked by another program")
        case "53100":
            return DiskFull(f"no space left for {place}")
        case "42501" | "25006":
            return DatasetReadOnly(f"{place} cannot be written: {words}")
        case "3D000":
            return DatasetMissing(f"{place}: {words}")
        case "28P01" | "28000":
            return DatasetLoginRefused(f"{place}: {words}")
        case "" if _LOGIN.search(words):  # libpq keeps the number to itself
            return DatasetLoginRefused(f"{place}: {words}")
        case "" if isinstance(getattr(error, "orig", error), psycopg.ProgrammingError):
            return BadConfiguration(f"{place}: {words}")  # an option that libpq does not know
        case "" if words.endswith("does not exist"):
            return DatasetMissing(f"{place}: {words}")
        case "" | "57P01" | "57P02" | "57P03" | "53300" | "08006" | "08003" | "08001":
            return DatasetUnreachable(f"{place}: {words}")
        case _:
            return DatasetError(f"{place}: {words}")


def _state(error: Exception) -> str:
    raised = getattr(error, "orig", None) or error
    return str(getattr(raised, "sqlstate", None) or "")
