"""The protocol every kind of dataset fulfils, and the values it speaks in.

A dataset is the users' own; they may change it at any moment, also while we work. So it is
read by comparison with what we knew (``changes``) and written by compare-and-set (``apply``).
An adapter keeps no state of ours anywhere in the dataset; it may keep ``Notes``.

``tests/datasets/conformance.py`` is the one suite that every adapter passes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from mailsync.core.model import Etag, Fields, Guid, Key, Value

Notes = MutableMapping[str, bytes]
"""What an adapter wants to know again the next time, kept for it beside the record map. All of
it may be missing: a note makes things quicker or smoother, never right."""


class Access(NamedTuple):
    """How to get in where a dataset is on a server."""

    secret: Callable[[], str] | None = None
    """Fetches the password, or the token that stands for user and password."""
    authority: Path | None = None
    """Certificates of an own authority, PEM; None: the system's."""


class Change(NamedTuple):
    """A record that may differ from what we knew: what the dataset holds for it now.

    ``fields`` None: the record is gone. A Change whose fields equal what we knew is allowed
    (a file was touched); it only renews the etag.
    """

    key: Key
    fields: Fields | None
    etag: Etag | None


class Unreadable(NamedTuple):
    """A record that is there but cannot be understood. It is held: neither change nor delete."""

    key: Key
    reason: str


class Newcomer(NamedTuple):
    """A record the dataset does not have yet."""

    guid: Guid
    fields: Fields


class Write(NamedTuple):
    """One compare-and-set: make ``key`` hold ``wanted`` if it now holds ``expected``.

    None stands for "no record": ``expected`` None is an insert, ``wanted`` None a delete. A field
    that is only in ``wanted`` is expected to hold what nobody wrote, one that is only in
    ``expected`` is emptied.
    """

    guid: Guid
    key: Key
    expected: Fields | None
    wanted: Fields | None


class Result(enum.Enum):
    """How one write ended."""

    WRITTEN = "written"
    CHANGED = "changed"
    """A user was quicker: the record is not what we expected. Nothing was written."""
    REFUSED = "refused"
    """The dataset does not take it (constraint, unreadable neighbour). Nothing was written."""


class Outcome(NamedTuple):
    """The result of one write; ``etag`` of what the dataset now holds, if written."""

    result: Result
    etag: Etag | None = None
    reason: str = ""


Told = Callable[[Sequence[Outcome]], list[Outcome]]
"""From the outcomes of writes in own terms to those of the writes that were asked for."""


class Reference(NamedTuple):
    """A foreign key: ``fields`` hold what ``columns`` of a row of ``table`` hold."""

    fields: tuple[str, ...]
    nullable: frozenset[str]
    """Those of the fields that may be empty."""
    table: str
    """In the same database."""
    columns: tuple[str, ...]
    is_key: bool
    """Are the columns the table's primary key?"""


class Database(Protocol):
    """What several datasets live in that can be written in one transaction."""

    def apply(self, batches: Sequence[tuple[Dataset, Sequence[Write]]]) -> list[list[Outcome]]:
        """Carry out the writes for several of its datasets, one list of outcomes for each.

        All happen in one transaction, and those that are CHANGED or REFUSED do not hinder the
        others. The datasets come parents before children.
        """
        ...


class Field(NamedTuple):
    """What a dataset says of a field that its records have."""

    type: str = ""
    """In the dataset's own words; empty: it has no types."""
    blank: Value = None
    """What a record may hold there, besides ``empty``, where nobody wrote: a column's default."""
    empty: Value = None
    """What it holds there where nobody wrote: NULL, or what stands for it."""


class Dataset(Protocol):
    """Records of one kind under one name.

    Methods raise :class:`mailsync.errors.DatasetMissing`, ``DatasetReadOnly``, ``DiskFull`` or
    another :class:`mailsync.errors.DatasetError` when the dataset as a whole cannot be used;
    what concerns one record alone is an ``Unreadable`` or an ``Outcome``.
    """

    @property
    def database(self) -> Database | None:
        """Where it is written in one transaction with others; None: it stands alone."""
        ...

    is_written_at_once: bool
    """Do the writes of one ``apply`` take effect together, as where a file is replaced?"""

    references: Sequence[Reference]
    """Its foreign keys."""

    has_local_keys: bool
    """Are its keys the site's own, and numbers?"""

    fields: Mapping[str, Field] | None
    """The fields it holds at all, also where nobody wrote; None: any field of any name, and none
    that nobody wrote. No other fields are ever written to it."""

    key: tuple[str, ...]
    """Names of the columns that tell its records apart; empty: something else does."""

    def look(self) -> None:
        """See anew what ``fields``, ``key`` and ``references`` are: people alter tables."""
        ...

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``: new, changed and vanished records.

        ``known`` maps each key to the etag we hold for it; an etag None always counts as
        changed. It may be large and read from disk: a single look-up is slow, and ``items()``
        streams, best in the order of :func:`mailsync.core.places.place_of`. Keys come at most
        once, in no particular order. An unreadable record's key is never reported as vanished.
        """
        ...

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The local keys under which new records should be inserted, in their order.

        No key is in ``taken``, and none is given twice, unless the fields themselves say the
        key. The same arguments give the same keys where the dataset has not changed in between.
        """
        ...

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the dataset holds now for exactly these keys."""
        ...

    def spelled(self, fields: Fields) -> Fields:
        """The fields as this dataset would hold them: the same meaning, maybe another form.

        What it cannot hold at all stays as it is. Spelling twice is spelling once.
        """
        ...

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes, one outcome each, in their order; all values are ``spelled``.

        Those that are CHANGED or REFUSED do not hinder the others.
        """
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


@runtime_checkable
class Gated(Protocol):
    """A dataset that can tell that nothing at all has changed, without looking at its records.

    A gate only spares the look that would have found nothing. Whoever keeps it forgets it before
    the dataset is written to, and before anything that is found becomes known.
    """

    gate: bytes | None
    """Of what ``changes`` found, once it has come to its end; None before."""

    def still(self, gate: bytes) -> bytes | None:
        """What to keep instead of the gate if nothing has changed since; None: it may have."""
        ...


def held_by(dataset: Dataset) -> AbstractSet[str] | None:
    """Names of the fields the dataset holds at all; None: any."""
    return None if dataset.fields is None else dataset.fields.keys()
