"""A database: its connections, its catalogue, and what is written to its tables together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, cast
from warnings import catch_warnings

from sqlalchemy import URL, Engine, Inspector, QueuePool, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SAWarning

from mailsync.datasets.base import Dataset, Outcome, Write
from mailsync.datasets.mapped import behind_mapping
from mailsync.datasets.sql.apply import CHUNK, Application, TransactionLost
from mailsync.datasets.sql.engine import EngineModule, TableName
from mailsync.datasets.sql.notation import ENGINES
from mailsync.datasets.sql.reflection import Keys, reflect
from mailsync.datasets.sql.shape import Shape
from mailsync.errors import BadConfiguration, DatasetError, MailsyncError

PATIENCE: Final = 30.0
"""Seconds to wait for another program's lock: longer than any sensible transaction."""

_EXTRAS: Final = {"sqlite": "", "postgresql": "postgres", "mariadb": "mariadb"}
"""The engines, each a module of that name; and the extra that brings its driver."""


class _Table(Protocol):
    """What a dataset of this database is."""

    shape: Shape


class SqlDatabase:
    """An existing database, connected to when it is first used."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        """``url``: as SQLAlchemy writes it. ``patience``: seconds to wait for a lock.

        Raises :class:`mailsync.errors.BadConfiguration`.
        """
        self._url = _parsed(url)
        self._patience = patience
        self.engine = _engine_of(self._url)
        self.datasets: dict[TableName, Shape] = {}
        """The tables that are datasets, as they looked last."""
        self._look: ExitStack | None = None
        self._silence: MailsyncError | None = None
        self._pool = QueuePool(lambda: self.engine.connect(self._url, patience))

    @property
    def files(self) -> Sequence[Path]:
        """Where the database is, if every commit shows by their statuses."""
        return self.engine.files(self._url)

    @property
    def place(self) -> str:
        """The database as people call it, without secrets."""
        return self.engine.place(self._url)

    def tables(self) -> dict[str, str]:
        """Its tables, views not among them; and why one is no user's own, empty where it is."""
        with self.explaining(self.place), self.looking():
            names = self.catalogue.get_table_names()
            with self.connection() as connection:
                internal = self.engine.internal_tables(connection)
            return {name: internal.get(name, "") for name in names}

    def reflect(self, table: str, keys: Keys | None, key: Sequence[str] | None) -> Shape:
        """A look at a table, as :func:`mailsync.datasets.sql.reflection.reflect`."""
        with self.explaining(f"table {table} of {self.place}"), self.looking():
            return reflect(self.engine, self.catalogue, table, keys, key)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside, what is to be known of the tables is asked for once, however many look, and a
        database that does not answer is not called again: all get the same error.
        """
        outermost = self._look is None
        self._look = self._look or ExitStack()
        if outermost:  # of types and indexes that SQLAlchemy does not know
            self._look.enter_context(catch_warnings(action="ignore", category=SAWarning))
        try:
            yield
        finally:
            if outermost:
                look, self._look, self._silence = self._look, None, None
                self.__dict__.pop("catalogue", None)
                look.close()

    @cached_property
    def catalogue(self) -> Inspector:
        """What SQLAlchemy knows of the tables, for as long as we are looking."""
        assert self._look is not None  # noqa: S101 - see above
        if self._silence is not None:
            raise self._silence
        try:
            with self.explaining(self.place):
                connection = self._look.enter_context(self._catalogue.connect())
        except MailsyncError as error:
            self._silence = error
            raise
        # who alters a table must not have to wait until we have looked
        return inspect(connection.execution_options(isolation_level="AUTOCOMMIT"))

    @cached_property
    def _catalogue(self) -> Engine:
        """It remembers its own queries: making those anew would take longer than asking them."""
        return self.engine.open_catalogue(self._url, self._patience)

    def apply(self, batches: Sequence[tuple[Dataset, Sequence[Write]]]) -> list[list[Outcome]]:
        """Carry out the writes in one transaction; all of it is undone if an error is raised."""
        through = [behind_mapping(dataset, writes) for dataset, writes in batches]
        shaped = [(cast("_Table", table).shape, own) for table, own, _ in through]
        refused: dict[int, str] = {}
        chunk = CHUNK
        with self.explaining(self.place), self.connection() as connection:
            around = self.datasets.values()
            while True:
                for shape, _ in shaped:
                    self.refuse_doubles(connection.cursor(), shape)
                application = Application(connection, shaped, refused, chunk, around)
                try:
                    outcomes = iter(application.run())
                except TransactionLost as lost:
                    refused |= lost.refused
                    chunk = chunk if lost.refused else 1
                else:
                    return [told([next(outcomes) for _ in own]) for _, own, told in through]
                finally:
                    connection.rollback()

    def refuse_doubles(self, cursor: Any, shape: Shape) -> None:
        """Raise DatasetError for rows with one key, where only the configuration calls it one."""
        if shape.declared and (row := shape.double.run(cursor, {}).fetchone()):
            key = shape.key_of_values(row)
            raise DatasetError(
                f"table {shape.name} of {self.place}: several rows have the key {key} "
                f"({', '.join(shape.key)}); name more columns in key, or remove the doubles"
            )

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A driver's connection; what is not committed at the end is undone."""
        connection = self._pool.connect()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.close()

    @contextmanager
    def explaining(self, place: str) -> Iterator[None]:
        """Around work with the driver: its errors as ours."""
        try:
            yield
        except MailsyncError:
            raise
        except DBAPIError as error:
            raise self.engine.explain(error, place) from error
        except self.engine.DRIVER_ERRORS as error:
            raise self.engine.explain(error, place) from error

    def close(self) -> None:
        """Close all connections; they are opened again if need be."""
        self._pool.dispose()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # such as a port that is no number
        place = url.rpartition("@")[2]
        raise BadConfiguration(f"{place!r:.80} is not the URL of a database") from error
    return parsed


def _engine_of(url: URL) -> EngineModule:
    name = url.get_backend_name()
    if name not in _EXTRAS:
        raise BadConfiguration(f"{name}: tables are read from {', '.join(ENGINES)} only")
    try:
        return cast("EngineModule", import_module(f"mailsync.datasets.sql.{name}"))
    except ImportError as error:
        raise BadConfiguration(
            f"{url.drivername}: its driver is not installed; "
            f"pip install 'mailsync-sets[{_EXTRAS[name]}]'"
        ) from error
