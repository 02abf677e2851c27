"""The bodies of earlier bundles, by which later ones get smaller: ours, and those of each peer."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql

from mailsync.core import priors
from mailsync.core.positions import Positions
from mailsync.core.preface import Preface
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

OURS = 1
THEIRS = 0

_body, _memory = schema.body.c, schema.memory.c
_some = (_body.peer == bindparam("peer")) & (_body.ours == bindparam("ours"))
_within = _body.serial.between(bindparam("low"), bindparam("high"))
_SIZES = Statement(select(_body.serial, func.length(_body.octets), _body.shared).where(_some))
_READ = Statement(select(_body.octets).where(_some & _within).order_by(_body.serial))
_kept = postgresql.insert(schema.body).values(parameters(schema.body))
_KEEP = Statement(
    _kept.on_conflict_do_update(
        index_elements=["peer", "ours", "serial"],
        set_={"octets": _kept.excluded.octets, "shared": _kept.excluded.shared},
    )
)
_DROP = Statement(delete(schema.body).where(_some & _within))
_SHARE = Statement(update(schema.body).where(_some & _within).values(shared=bindparam("is_shared")))
_MEMORY = Statement(select(_memory.serial, _memory.forgot).where(_memory.peer == bindparam("peer")))
_noted = postgresql.insert(schema.memory).values(parameters(schema.memory))
_NOTE = Statement(
    _noted.on_conflict_do_update(
        index_elements=["peer"],
        set_={"serial": _noted.excluded.serial, "forgot": _noted.excluded.forgot},
    )
)
_LAST = 1 << 62


class Bodies:
    """What both ends of each link remember of its earlier bundles."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def next(self, peer: str) -> tuple[Preface, bytes]:
        """Preface and prior of the next bundle to a peer."""
        serial, forgot = self._memory(peer)
        held = [number for number, _, _ in self._sizes(peer, THEIRS)]
        prior = priors.chosen({n: size for n, size, shared in self._sizes(peer, OURS) if shared})
        preface = Preface(
            serial + 1,
            priors.announced(held),
            held_is_all=bool(forgot),
            prior=prior,
        )
        return preface, self._joined(peer, OURS, prior)

    def sent(self, peer: str, serial: int, body: bytes) -> None:
        """A bundle was composed."""
        _, forgot = self._memory(peer)
        self._session.run(_NOTE, peer=peer, serial=serial, forgot=forgot)
        self._keep(peer, OURS, serial, body)

    def heard(self, peer: str, preface: Preface) -> bool:
        """A peer said which of our bodies it holds: are some gone that we counted on?"""
        gone = False
        if preface.held_is_all:
            shared = [serial for serial, _, is_shared in self._sizes(peer, OURS) if is_shared]
            gone = any(serial not in preface.held for serial in shared)
            self._share(peer, 0, _LAST, is_shared=0)
        for low, high in preface.held.intervals:
            self._share(peer, low, high, is_shared=1)
        return gone

    def prior(self, peer: str, serials: Positions) -> bytes:
        """What a peer's bundle was compressed against, as far as it is here."""
        return self._joined(peer, THEIRS, serials)

    def received(self, peer: str, serial: int, body: bytes) -> None:
        """A peer's bundle was read."""
        last, forgot = self._memory(peer)
        if forgot:
            self._session.run(_NOTE, peer=peer, serial=last, forgot=0)
        self._keep(peer, THEIRS, serial, body)

    def forgot(self, peer: str) -> None:
        """A peer counts on other bodies than we hold: it is told so until we can read it again.

        Which of them differ cannot be known, so all go: one by one they would cost a bundle each.
        """
        self._session.run(_DROP, peer=peer, ours=THEIRS, low=0, high=_LAST)
        serial, _ = self._memory(peer)
        self._session.run(_NOTE, peer=peer, serial=serial, forgot=1)

    def kept(self, peer: str) -> int:
        """Bytes of bodies that are kept for a peer, ours and its own."""
        return sum(size for ours in (OURS, THEIRS) for _, size, _ in self._sizes(peer, ours))

    def _memory(self, peer: str) -> tuple[int, int]:
        rows = self._session.rows(_MEMORY, peer=peer)
        return rows[0] if rows else (0, 0)

    def _sizes(self, peer: str, ours: int) -> list[tuple[int, int, int]]:
        return self._session.rows(_SIZES, peer=peer, ours=ours)

    def _joined(self, peer: str, ours: int, serials: Positions) -> bytes:
        return priors.joined(
            octets
            for low, high in serials.intervals
            for (octets,) in self._session.rows(_READ, peer=peer, ours=ours, low=low, high=high)
        )

    def _share(self, peer: str, low: int, high: int, *, is_shared: int) -> None:
        self._session.run(_SHARE, peer=peer, ours=OURS, low=low, high=high, is_shared=is_shared)

    def _keep(self, peer: str, ours: int, serial: int, body: bytes) -> None:
        octets = priors.kept(body)
        self._session.run(_KEEP, peer=peer, ours=ours, serial=serial, shared=0, octets=octets)
        sizes = {number: size for number, size, _ in self._sizes(peer, ours)}
        for old in priors.surplus(sizes):
            self._session.run(_DROP, peer=peer, ours=ours, low=old, high=old)
