"""Proofs hold for one connection, one pair of sites, one role."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.introduction import Role, Session, prove, proven
from mailsync.errors import BadBundle
from tests.cycle.sites import keys_of

SHIP, HUB, YACHT = (keys_of(name) for name in ("ship", "hub", "yacht"))
SESSION = Session(bytes([1] * 32), bytes([2] * 32), bytes([3] * 32))
PROOF = prove(Role.CALLER, SESSION, sender=SHIP, recipient=HUB.public)


def test_the_one_who_is_meant_learns_who_it_is() -> None:
    peers = [YACHT.public, SHIP.public]
    assert proven(Role.CALLER, PROOF, SESSION, receiver=HUB, peers=peers) == SHIP.public


def test_a_proof_is_worth_nothing_elsewhere() -> None:
    cases = [
        (Role.LISTENER, SESSION, HUB, SHIP),  # sent back, or in the other role
        (Role.CALLER, SESSION, YACHT, SHIP),  # at another site
        (Role.CALLER, SESSION, HUB, YACHT),  # from another one
        (Role.CALLER, SESSION, SHIP, HUB),
        *(
            (Role.CALLER, SESSION._replace(**{name: bytes(32)}), HUB, SHIP)
            for name in Session._fields
        ),
    ]
    for role, session, receiver, sender in cases:
        with pytest.raises(BadBundle):
            proven(role, PROOF, session, receiver=receiver, peers=[sender.public])


@given(st.integers(0, len(PROOF) - 1), st.integers(1, 255), st.integers(0, len(PROOF)))
def test_an_altered_or_cut_proof_is_none(place: int, change: int, end: int) -> None:
    altered = bytearray(PROOF)
    altered[place] ^= change
    for proof in (bytes(altered), PROOF[:end] if end < len(PROOF) else PROOF + b"\0"):
        with pytest.raises(BadBundle):
            proven(Role.CALLER, proof, SESSION, receiver=HUB, peers=[SHIP.public])
