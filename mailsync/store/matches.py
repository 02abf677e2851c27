"""First synchronizations: what was said of which dataset to whom, and which record is whose."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql

from mailsync.core.model import Guid
from mailsync.core.positions import NOWHERE, Positions
from mailsync.store import schema
from mailsync.store.codec import positions_bytes, positions_of
from mailsync.store.statements import Session, Statement, parameters

_match, _likeness = schema.match.c, schema.likeness.c
_of_peer = _match.peer == bindparam("peer")
_ALL = Statement(select(schema.match).where(_of_peer).order_by(_match.dataset))
_new = postgresql.insert(schema.match).values(parameters(schema.match))
_SAVE = Statement(
    _new.on_conflict_do_update(
        index_elements=["peer", "dataset"],
        set_={column.name: _new.excluded[column.name] for column in schema.match.c[2:]},
    )
)
_UNSAID = Statement(update(schema.match).where(_of_peer).values(said=0, answered_tag=None))
_this = (_likeness.peer == bindparam("peer"), _likeness.dataset == bindparam("dataset"))
_rank = _likeness.rank == bindparam("rank")
_LIKENESSES = Statement(
    select(_likeness.rank, _likeness.guid, _likeness.digest).where(*_this).order_by(_likeness.rank)
)
_is_there = (schema.dataset.c.name == _likeness.dataset) & (
    (schema.record.c.dataset == schema.dataset.c.number) & (schema.record.c.guid == _likeness.guid)
)
_POSITIONS = Statement(select(_likeness.guid, schema.record.c.position).where(*_this, _is_there))
_AT = Statement(select(_likeness.rank, _likeness.guid, _likeness.digest).where(*_this, _rank))
_ADD = Statement(postgresql.insert(schema.likeness).values(parameters(schema.likeness)))
_CLEAR = Statement(delete(schema.likeness).where(*_this))
_DROP = Statement(delete(schema.likeness).where(*_this, _rank))
_DOUBT = Statement(
    update(schema.likeness)
    .where(*_this, _likeness.guid == bindparam("guid"))
    .values(digest=bindparam("nothing"))
)
_RENAME = Statement(
    update(schema.likeness)
    .where(_likeness.dataset == bindparam("dataset"), _likeness.guid == bindparam("old"))
    .values(guid=bindparam("new"))
)


@dataclass(frozen=True, slots=True)
class Match:
    """A first synchronization of one dataset with one peer. Times: milliseconds since 1970."""

    peer: str
    dataset: str
    waiting: bool = True
    """Our records wait until it is known which of them the peer has."""
    keeping: bool = False
    """Our GUIDs stay, and our records go."""
    tag: int = 0
    """Of our digests."""
    shared: bool = False
    """Did others have any of it from us, or we from them, when our digests were made?"""
    size: int = 0
    """How many digests we have."""
    said: int = 0
    """How many of our symbols the peer was sent."""
    wanted: int = 0
    """How many it should have; 0: our digests are not made yet."""
    said_at: int = 0
    heard_tag: int | None = None
    """Of the peer's digests."""
    heard_shared: bool = False
    heard_size: int = 0
    heard: bytes = b""
    """The peer's symbols so far."""
    answered_tag: int | None = None
    """Of the digests of the peer's that were answered; otherwise an answer is due."""
    matched_tag: int | None = None
    """Of those that the ranks are about."""
    ranks: Positions = NOWHERE
    """Which of the peer's digests we hold alike."""
    matched_at: int = 0


class Alike(NamedTuple):
    """A record of ours, and what it is called in the digests under way."""

    rank: int
    guid: Guid
    digest: bytes
    """Of its content then."""


class Matches:
    """Every first synchronization."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def of(self, peer: str) -> dict[str, Match]:
        """By dataset, those with this peer."""
        found = (_match_of(row) for row in self._session.rows(_ALL, peer=peer))
        return {match.dataset: match for match in found}

    def save(self, match: Match) -> None:
        """Write it, whether or not it is new."""
        values = {one.name: _stored(getattr(match, one.name)) for one in fields(match)}
        self._session.run(_SAVE, **values)

    def unsaid(self, peer: str) -> None:
        """What was said to the peer last may not have left: it is said again."""
        self._session.run(_UNSAID, peer=peer)

    def alike(self, match: Match) -> list[Alike]:
        """The records of its digests, by rank."""
        return [*map(_alike, self._session.rows(_LIKENESSES, **_place(match)))]

    def positions(self, match: Match) -> dict[Guid, int]:
        """Where those of them are by now that are still there."""
        rows = self._session.rows(_POSITIONS, **_place(match))
        return {Guid(guid): position for guid, position in rows}

    def at(self, peer: str, dataset: str, rank: int) -> Alike | None:
        """The record of this rank."""
        rows = self._session.rows(_AT, peer=peer, dataset=dataset, rank=rank)
        return _alike(rows[0]) if rows else None

    def replace(self, match: Match, records: Iterable[Alike]) -> None:
        """These are the records of its digests, and no others."""
        self._session.run(_CLEAR, **_place(match))
        self._session.run_each(
            _ADD,
            (
                {**_place(match), "rank": rank, "guid": bytes(guid), "digest": digest}
                for rank, guid, digest in records
            ),
        )

    def drop(self, peer: str, dataset: str, rank: int) -> None:
        """The record of this rank came."""
        self._session.run(_DROP, peer=peer, dataset=dataset, rank=rank)

    def doubt(self, peer: str, dataset: str, guid: Guid) -> None:
        """The peer's record is no longer equal to this one."""
        self._session.run(_DOUBT, peer=peer, dataset=dataset, guid=bytes(guid), nothing=b"")

    def rename(self, dataset: str, names: Mapping[Guid, Guid]) -> None:
        """These GUIDs of ours gave way to others."""
        self._session.run_each(
            _RENAME,
            (
                {"dataset": dataset, "old": bytes(old), "new": bytes(new)}
                for old, new in names.items()
            ),
        )


def _place(match: Match) -> dict[str, str]:
    return {"peer": match.peer, "dataset": match.dataset}


def _alike(row: Collection[object]) -> Alike:
    rank, guid, digest = row
    return Alike(rank, Guid(guid), digest)  # type: ignore[arg-type]


def _match_of(row: Sequence[object]) -> Match:
    values = dict(zip((column.name for column in schema.match.c), row, strict=True))
    for name in ("waiting", "keeping", "shared", "heard_shared"):
        values[name] = bool(values[name])
    values["ranks"] = positions_of(values["ranks"])  # type: ignore[arg-type]
    return Match(**values)  # type: ignore[arg-type]


def _stored(value: object) -> object:
    if isinstance(value, Positions):
        return positions_bytes(value)
    return int(value) if isinstance(value, bool) else value
