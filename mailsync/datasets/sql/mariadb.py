"""What is MariaDB's alone: two drivers with one face, session settings, values, errors.

Rules
-----
* Values come as the bytes the server writes them in; only changed rows are taken apart.
* mysqlclient (in C) and PyMySQL (in Python) differ in speed alone; ``mariadb://`` takes the
  first that is there.
* The server never bends a value that it cannot hold: the strictest mode, and in it the dates of
  zero that MariaDB's own users write.
* A foreign key is checked with each statement; MariaDB cannot defer that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, NullPool, cast, create_engine, literal_column
from sqlalchemy.dialects import mysql as types
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import Integer, NullType, Uuid

from mailsync.core.model import Value
from mailsync.datasets import spelling
from mailsync.datasets.rowkeys import Undecodable
from mailsync.datasets.sql.engine import (
    ROWS_AT_A_TIME,
    Column,
    Differs,
    Row,
    Scan,
    TableName,
    digest,
    marshalled,
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

BEGIN_READING: Final = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
BEGIN_WRITING: Final = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")
CHECK_DEFERRED: Final = ()

_MODE: Final = (
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO"
)
_TRIGGERS: Final = (
    "SELECT count(*) FROM information_schema.triggers"
    " WHERE event_object_schema = coalesce(%s, database()) AND event_object_table = %s"
)

ROW_NAMES: Final = ()
FOREIGN_KEYS: Final = (
    "SELECT table_name, constraint_name, column_name, k.referenced_table_schema,"
    " k.referenced_table_name, referenced_column_name, delete_rule IN ('CASCADE', 'SET NULL',"
    " 'SET DEFAULT') FROM information_schema.key_column_usage AS k LEFT JOIN information_schema."
    "referential_constraints USING (constraint_schema, constraint_name, table_name)"
    " WHERE table_schema = coalesce(%s, database()) AND k.referenced_table_name IS NOT NULL"
    " ORDER BY table_name, constraint_name, ordinal_position"
)

# numbers of https://mariadb.com/kb/en/mariadb-error-code-reference/
_REFUSALS: Final = frozenset(
    {1048, 1062, 1118, 1169, 1216, 1217, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1411}
    | {1416, 1442, 1451, 1452, 1525, 1526, 1557, 1586, 1644, 1690, 1761, 1762, 1906, 3140}
    | {3819, 4025, 4161}
)
_MADE_UP: Final = 10_000
"""From here on there are no numbers but those that a trigger made up (SIGNAL ... MYSQL_ERRNO)."""
_BUSY: Final = frozenset({1205, 1213, 1099, 1100, 1192, 1969})
_FULL: Final = frozenset({1021, 1041, 1114})
_FORBIDDEN: Final = frozenset({1036, 1044, 1142, 1143, 1290, 1792})
_MISSING: Final = frozenset({1049, 1146})
_LOGIN: Final = frozenset({1045, 1130, 1698})
_UNREACHABLE: Final = frozenset({1040, 1053, 1152, 1203, 2002, 2003, 2005, 2006, 2013, 2026, 2055})


_DRIVERS: Final[dict[str, Any]] = {}
"""Those that are there, by SQLAlchemy's names, the fastest first."""

with suppress(ImportError):
    import MySQLdb.converters
    import MySQLdb.cursors

    _DRIVERS["mysqldb"] = MySQLdb
with suppress(ImportError):
    import pymysql.converters
    import pymysql.cursors

    _DRIVERS["pymysql"] = pymysql

UNFIT_VALUES: Final[tuple[type[Exception], ...]] = (OverflowError, UnicodeEncodeError)
DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (
    *(driver.Error for driver in _DRIVERS.values()),
    *UNFIT_VALUES,
)


def files(_url: URL) -> Sequence[Path]:
    """None that we could see."""
    return ()


def place(url: URL) -> str:
    """The database and its host."""
    return f"{url.database} at {url.host or 'this machine'}"


def open_catalogue(url: URL, _patience: float) -> Engine:
    """For a look at the tables of a database."""
    with _understood(url):
        plain = url.set(drivername=f"mariadb+{_driver(url)}")
        return create_engine(plain, creator=lambda: _connect(url), poolclass=NullPool)


def connect(url: URL, patience: float) -> Any:
    """A connection that gives values as bytes."""
    converters = _DRIVERS[_driver(url)].converters.conversions
    connection = _connect(
        url,
        charset="utf8mb4",
        use_unicode=False,
        binary_prefix=True,
        autocommit=True,
        conv={kind: change for kind, change in converters.items() if isinstance(kind, type)},
    )
    seconds = max(1, round(patience))
    with closing(connection.cursor()) as cursor:
        cursor.execute(
            "SET SESSION sql_mode = %s, time_zone = '+00:00', innodb_lock_wait_timeout = %s,"
            " lock_wait_timeout = %s",
            (_MODE, seconds, seconds),
        )
    return connection


def _connect(url: URL, **settings: Any) -> Any:
    """A driver's connection, with what the URL's query says in SQLAlchemy's words."""
    driver = _driver(url)
    with _understood(url):
        engine = create_engine(url.set(drivername=f"mariadb+{driver}"), poolclass=NullPool)
        _, named = engine.dialect.create_connect_args(url)
        return _DRIVERS[driver].connect(**{"connect_timeout": 30, **named, **settings})


@contextmanager
def _understood(url: URL) -> Iterator[None]:
    """Inside, options that the driver does not know, or name no file, are the operator's."""
    try:
        yield
    except (TypeError, ValueError, OSError) as error:
        raise BadConfiguration(f"{place(url)}: {error}") from error


def _driver(url: URL) -> str:
    plain = url.drivername == "mariadb"
    wanted = next(iter(_DRIVERS), "") if plain else url.drivername.partition("+")[2]
    if wanted in _DRIVERS:
        return wanted
    raise BadConfiguration(
        f"{url.drivername}: its driver is not installed; pip install mailsync-sets[mariadb],"
        " or PyMySQL and write mariadb+pymysql://"
    )


_UNKNOWN: Final = "of a type that mailsync does not know; records whose value is no text are held"
"""Such as POINT."""

_Form = tuple[
    spelling.Spelling,
    Callable[[Any], Value] | None,
    Callable[[Any], Any] | None,
    Callable[[ColumnElement[Any]], ColumnElement[Any]] | None,
]


def column(described: Mapping[str, Any]) -> Column:
    """A column by its type. Raises :class:`DatasetError`."""
    if "``" in described["name"]:  # SQLAlchemy does not take the quotes off
        raise DatasetError(f"column {described['name']}: a name with a backtick; give it another")
    spell, read, bind, select = _form_of(described["type"])
    return Column(
        described["name"],
        bool(described["nullable"]),
        spell,
        read,
        bind,
        select,
        restless="ON UPDATE" in str(described.get("default") or "").upper(),
        loss=_UNKNOWN if isinstance(described["type"], NullType) else "",
    )


def _form_of(declared: Any) -> _Form:
    match declared:
        case types.DECIMAL() | types.NUMERIC():
            return spelling.decimal(declared.precision, declared.scale or 0), _text, None, None
        case types.CHAR():
            return spelling.padded_text(declared.length), _text, None, None
        case types.VARCHAR():
            return spelling.text(declared.length), _text, None, None
        case types.BIGINT() if declared.unsigned:
            return _WIDE
        case Integer():
            bits = next(bits for kind, bits in _BITS if isinstance(declared, kind))
            unsigned = spelling.integer(0, 2**bits - 1)
            whole = unsigned if getattr(declared, "unsigned", False) else spelling.signed(bits)
            return whole, int, None, None
    forms = (form for kind, form in _FORMS if isinstance(declared, kind))
    return next(forms, _TEXT)


def _text(value: Any) -> Value:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return Undecodable(value)


def _moment(value: Any) -> str:
    """Without the zeros that fill up the column's places behind the point."""
    words = str(_text(value))
    return words.rstrip("0").rstrip(".") if "." in words else words


def _instant(value: Any) -> Value:
    return f"{_moment(value)}+00:00"


def _single(value: Any) -> Value:
    return spelling.shortest_single(float(value))


def _finite(spell: spelling.Spelling) -> spelling.Spelling:
    def checked(value: Value) -> Value:
        spelled = spell(value)
        if isinstance(spelled, float) and spelled - spelled != 0:
            raise spelling.Unfit("of MariaDB holds no infinity")
        return spelled

    return checked


def _without_zone(value: str) -> str:
    return value.removesuffix("+00:00")


def _as_double(there: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(there, types.DOUBLE)


def _as_number(there: ColumnElement[Any]) -> ColumnElement[Any]:
    return there.op("+")(literal_column("0"))


_TEXT: Final[_Form] = (spelling.text(), _text, None, None)
_WIDE: Final[_Form] = (spelling.integer(0, 2**64 - 1), spelling.whole, int, None)
_BITS: Final = (
    (types.TINYINT, 8), (types.SMALLINT, 16), (types.MEDIUMINT, 24), (types.BIGINT, 64),
    (types.INTEGER, 32),
)  # fmt: skip


def _forms() -> Iterator[tuple[type | tuple[type, ...], _Form]]:
    """How values of each type are spelled, read, bound and selected."""
    yield types.BIT, (*_WIDE[:3], _as_number)
    yield types.YEAR, (spelling.integer(0, 2155), int, None, None)
    yield types.FLOAT, (_finite(spelling.single), _single, None, _as_double)
    yield types.DOUBLE, (_finite(spelling.floating), float, None, None)
    yield types.DATE, (spelling.day, _text, None, None)
    yield types.TIME, (spelling.clock, _moment, None, None)
    yield types.DATETIME, (spelling.moment, _moment, None, None)
    yield types.TIMESTAMP, (spelling.instant, _instant, _without_zone, None)
    yield Uuid, (spelling.identifier, _text, None, None)
    blobs = (types.TINYBLOB, types.MEDIUMBLOB, types.LONGBLOB, types.BLOB)
    yield (*blobs, types.BINARY, types.VARBINARY), (spelling.blob, bytes, None, None)


_FORMS: Final = tuple(_forms())


def unusable(options: Mapping[str, Any]) -> str:
    """Only InnoDB undoes what went wrong."""
    kind = str(options.get("mariadb_engine") or options.get("mysql_engine") or "InnoDB")
    return "" if kind == "InnoDB" else f"its engine {kind} has no transactions; make it InnoDB"


def internal_tables(_connection: Any) -> dict[str, str]:
    """None: the catalogue does not name them."""
    return {}


content = marshalled
"""What a row's etag is the digest of."""


def row_of(looked_at: Row) -> Row:
    """The row itself."""
    return looked_at


def scan(connection: Any, scan: Scan, differs: Differs) -> Iterator[list[Row]]:
    """The rows that differ, by some thousand rows looked at.

    The server keeps the rows until they are fetched, and answers nothing else meanwhile.
    """
    module = type(connection.driver_connection).__module__.partition(".")[0]
    driver = next(one for one in _DRIVERS.values() if one.__name__ == module)
    with closing(connection.driver_connection.cursor(driver.cursors.SSCursor)) as cursor:
        cursor.execute(scan.query, ())
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            yield [row for row in rows if differs(digest(marshalled(row)), row)]


@contextmanager
def tolerance(_connection: Any) -> Iterator[None]:
    """Always: values come as bytes."""
    yield


def is_undecodable(_error: Exception) -> bool:
    """Never: see ``tolerance``."""
    return False


def is_refusal(error: Exception) -> bool:
    """Does the error concern the one value or row just written, and nothing else?"""
    number = _number(error)
    return isinstance(error, UNFIT_VALUES) or number in _REFUSALS or number >= _MADE_UP


def in_transaction(connection: Any) -> bool:
    """Is our transaction still open? A deadlock ends it."""
    cursor = connection.cursor()
    cursor.execute("SELECT @@in_transaction")
    return bool(int(cursor.fetchone()[0]))


def has_triggers(connection: Any, table: TableName) -> bool:
    """Does writing to the table set something else in motion?"""
    cursor = connection.cursor()
    cursor.execute(_TRIGGERS, table)
    return bool(int(cursor.fetchone()[0]))


def addition(text: str) -> str:
    """The statement itself."""
    return text


def greatest_given(_connection: Any, _table: TableName, _key: str) -> int:
    """Nothing beyond the rows there are."""
    return 0


def give_up_to(_connection: Any, _table: TableName, _key: str) -> None:
    """The counter follows by itself."""


def explain(error: Exception, place: str) -> MailsyncError:
    """The error the operator reads; ``place`` names the database."""
    number = _number(error)
    words = f"{place}: {_words(error)}"
    if number in _BUSY:
        return DatasetBusy(f"{place} is locked by another program")
    kinds = {
        DiskFull: _FULL,
        DatasetReadOnly: _FORBIDDEN,
        DatasetMissing: _MISSING,
        DatasetLoginRefused: _LOGIN,
        DatasetUnreachable: _UNREACHABLE,
    }
    found = (kind(words) for kind, numbers in kinds.items() if number in numbers)
    return next(found, DatasetError(words))


def _number(error: Exception) -> int:
    raised = getattr(error, "orig", None) or error
    first = raised.args[0] if raised.args else 0
    return first if isinstance(first, int) else 0


def _words(error: Exception) -> str:
    raised = getattr(error, "orig", None) or error
    return str(raised.args[-1] if raised.args else raised)
