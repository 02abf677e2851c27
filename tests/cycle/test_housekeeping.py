"""What is kept only while somebody needs it."""

from dataclasses import replace
from pathlib import Path

from mailsync.core.model import Key
from mailsync.core.positions import NOWHERE
from mailsync.cycle.housekeeping import tidy
from mailsync.store.outbox import Queued
from tests.cycle.sites import pair


def test_what_was_kept_for_a_peer_that_is_no_more_goes(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    alice = sites.sites["alice"]
    doubtful = Queued(
        "bob", "aabbccdd", 1, 1, b"?", NOWHERE, "<1@example.org>", 0, perhaps_taken=True
    )
    with alice.store.transaction() as transaction:
        transaction.outbox.add(doubtful)
    tidy(alice)
    with alice.store.transaction() as transaction:
        assert transaction.outbox.items()
        assert transaction.bodies.kept("bob")
    tidy(replace(alice, peers={}))
    with alice.store.transaction() as transaction:
        assert not transaction.outbox.items()
        assert not transaction.bodies.kept("bob")
