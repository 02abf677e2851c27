"""Proofs of equality: what was asked of each peer, and by it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql

from mailsync.core.proving import Inquiry, Reply, unanswered, unasked
from mailsync.store import schema
from mailsync.store.codec import inquiry_of, proof_bytes, reply_of
from mailsync.store.statements import Session, Statement, parameters

_proof = schema.proof.c
_GET = Statement(select(_proof.inquiry, _proof.reply).where(_proof.peer == bindparam("peer")))
_PEERS = Statement(select(_proof.peer))
_new = postgresql.insert(schema.proof).values(parameters(schema.proof))
_SAVE = Statement(
    _new.on_conflict_do_update(
        index_elements=["peer"],
        set_={"inquiry": _new.excluded.inquiry, "reply": _new.excluded.reply},
    )
)


@dataclass(frozen=True, slots=True)
class Proving:
    """Where two questions stand: ours to a peer, and the peer's to us."""

    inquiry: Inquiry | None = None
    reply: Reply | None = None


class Proofs:
    """Of every peer."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def peers(self) -> frozenset[str]:
        """Who ever asked or was asked something."""
        return frozenset(peer for (peer,) in self._session.rows(_PEERS))

    def get(self, peer: str) -> Proving:
        """Where questions stand with the peer."""
        for inquiry, reply in self._session.rows(_GET, peer=peer):
            return Proving(inquiry_of(inquiry), reply_of(reply))
        return Proving()

    def save(self, peer: str, proving: Proving) -> None:
        """Write it."""
        self._session.run(
            _SAVE,
            peer=peer,
            inquiry=proof_bytes(proving.inquiry),
            reply=proof_bytes(proving.reply),
        )

    def unsaid(self, peer: str) -> None:
        """What was said to the peer last may not have left: it is said again."""
        proving = self.get(peer)
        inquiry, reply = proving.inquiry, proving.reply
        if inquiry is not None:
            inquiry = unasked(inquiry)
        if reply is not None:
            reply = unanswered(reply)
        self.save(peer, replace(proving, inquiry=inquiry, reply=reply))
