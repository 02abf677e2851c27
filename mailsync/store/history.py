"""What happened, what is held, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.dialects import postgresql

from mailsync.core.positions import NOWHERE, Positions
from mailsync.store import schema
from mailsync.store.codec import positions_bytes, positions_of
from mailsync.store.statements import Session, Statement, parameters

_event = schema.event.c
_LOG = Statement(insert(schema.event).values(parameters(schema.event, "number")))
_events = select(_event.at, _event.kind, _event.peer, _event.guid, _event.text).order_by(
    _event.number
)
_EVENTS = Statement(_events)
_PASSAGES = Statement(_events.add_columns(_event.positions).where(_event.positions.is_not(None)))
_LATEST = Statement(select(func.max(_event.at)))
_EVENTS_OF = Statement(_events.where(_event.guid == bindparam("guid")))

_held = schema.held.c
_HOLD = Statement(insert(schema.held).values(parameters(schema.held)))
_RELEASE = Statement(
    delete(schema.held).where(
        _held.dataset == bindparam("dataset"),
        _held.name == bindparam("name"),
        _held.peer == bindparam("peer"),
    )
)
_HELD = Statement(
    select(_held.dataset, _held.name, _held.reason, _held.since, _held.peer).order_by(
        _held.dataset, _held.name, _held.peer
    )
)

_traffic = schema.traffic.c
_counted = postgresql.insert(schema.traffic).values(parameters(schema.traffic))
_METER = Statement(
    _counted.on_conflict_do_update(
        index_elements=["peer", "day", "direction"],
        set_={name: _traffic[name] + _counted.excluded[name] for name in ("mails", "bytes")},
    )
)
_SPENT = Statement(
    select(_traffic.bytes).where(
        _traffic.peer == bindparam("peer"),
        _traffic.day == bindparam("day"),
        _traffic.direction == "sent",
    )
)
_TRAFFIC = Statement(
    select(
        _traffic.peer, _traffic.day, _traffic.direction, _traffic.mails, _traffic.bytes
    ).order_by(_traffic.day, _traffic.peer)
)


class Event(NamedTuple):
    """One line of the log."""

    at: int
    kind: str
    peer: str
    guid: bytes | None
    text: str
    positions: Positions = NOWHERE
    """Of our records that it is about, if it is about many."""


class HeldItem(NamedTuple):
    """Something that waits for a person: a record, a file, a bundle."""

    dataset: str
    name: str
    reason: str
    since: int
    peer: str = ""
    """It only does not go to this one; empty: it waits here."""


class History:
    """The log, the list of what waits for a person, and the meter."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def log(self, event: Event) -> None:
        """One line for the log."""
        positions = positions_bytes(event.positions) if event.positions.intervals else None
        self._session.run(_LOG, **{**event._asdict(), "positions": positions})

    def events(self, *, peer: str | None = None, guid: bytes | None = None) -> list[Event]:
        """The log, oldest first, of one peer or one record if given."""
        if guid is None:
            rows = self._session.rows(_EVENTS)
        else:
            rows = self._session.rows(_EVENTS_OF, guid=guid)
        events = [Event(*row) for row in rows]
        return [event for event in events if peer is None or event.peer == peer]

    def latest(self) -> int | None:
        """The latest time that any line of the log has; None if there is none."""
        ((at,),) = self._session.rows(_LATEST)
        return None if at is None else int(at)

    def about(self, positions: Positions) -> list[Event]:
        """What the log says of many records, among them one at some of these positions."""
        rows = self._session.rows(_PASSAGES)
        events = (Event._make((*row[:5], positions_of(row[5]))) for row in rows)
        return [event for event in events if (event.positions & positions).intervals]

    def hold(self, dataset: str, reasons: Mapping[str, str], now: int) -> None:
        """Exactly these records or files of the dataset are held now, for these reasons."""
        here = {name: item for name, item in self._held_for("").items() if name[0] == dataset}
        self._hold(here, {(dataset, name): reason for name, reason in reasons.items()}, "", now)

    def withhold(self, peer: str, reasons: Mapping[str, Mapping[str, str]], now: int) -> None:
        """Exactly these records, by dataset, do not go to the peer now, for these reasons."""
        wanted = {
            (dataset, name): why for dataset, of in reasons.items() for name, why in of.items()
        }
        self._hold(self._held_for(peer), wanted, peer, now)

    def _held_for(self, peer: str) -> dict[tuple[str, str], HeldItem]:
        return {(item.dataset, item.name): item for item in self.held() if item.peer == peer}

    def _hold(
        self,
        before: Mapping[tuple[str, str], HeldItem],
        reasons: Mapping[tuple[str, str], str],
        peer: str,
        now: int,
    ) -> None:
        """These wait now, and what waited before no more."""
        for (dataset, name), item in before.items():
            if reasons.get((dataset, name)) != item.reason:
                self._session.run(_RELEASE, dataset=dataset, name=name, peer=peer)
        for (dataset, name), reason in sorted(reasons.items()):
            if (dataset, name) not in before or before[dataset, name].reason != reason:
                held = HeldItem(dataset, name, reason, now, peer)
                self._session.run(_HOLD, **held._asdict())

    def held(self) -> list[HeldItem]:
        """Everything that waits for a person."""
        return [HeldItem(*row) for row in self._session.rows(_HELD)]

    def meter(self, peer: str, day: str, direction: str, size: int) -> None:
        """Count one mail of ``size`` bytes, ``sent`` or ``received``, on a day (ISO 8601)."""
        self._session.run(_METER, peer=peer, day=day, direction=direction, mails=1, bytes=size)

    def spent(self, peer: str, day: str) -> int:
        """Bytes of the mails that were sent to the peer on a day."""
        rows = self._session.rows(_SPENT, peer=peer, day=day)
        return int(rows[0][0]) if rows else 0

    def traffic(self) -> list[tuple[str, str, str, int, int]]:
        """Peer, day, direction, mails, bytes."""
        return self._session.rows(_TRAFFIC)
