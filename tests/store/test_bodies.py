"""The memory of earlier bundles: exact, shared only as said, bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailsync.core import priors
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.preface import Preface
from mailsync.store.bodies import Bodies
from mailsync.store.state import StateStore

MIB = 2**20


@pytest.fixture
def bodies(tmp_path: Path) -> Iterator[Bodies]:
    with StateStore.create(tmp_path / "state.db").transaction() as transaction:
        yield transaction.bodies


def holding(*serials: int, everything: bool = False) -> Preface:
    return Preface(1, Positions.of(serials), held_is_all=everything)


def test_a_first_bundle_leans_on_nothing(bodies: Bodies) -> None:
    assert bodies.next("hub") == (Preface(1), b"")


def test_serials_go_up_for_each_peer_alone(bodies: Bodies) -> None:
    bodies.sent("hub", 1, b"a")
    bodies.sent("hub", 2, b"b")
    assert bodies.next("hub")[0].serial == 3
    assert bodies.next("ship")[0].serial == 1


def test_only_what_the_peer_said_it_holds_is_counted_on(bodies: Bodies) -> None:
    for serial, body in enumerate((b"one", b"two", b"three", b"four"), start=1):
        bodies.sent("hub", serial, body)
    assert bodies.next("hub")[1] == b""
    bodies.heard("hub", holding(2))
    bodies.heard("hub", holding(4))
    bodies.heard("ship", holding(1))
    preface, prior = bodies.next("hub")
    assert preface.prior == Positions.of([2, 4])
    assert prior == b"twofour"


def test_what_a_peer_holds_is_told_to_it(bodies: Bodies) -> None:
    for serial in (3, 1, 2, 7):
        bodies.received("hub", serial, b"%d" % serial)
    assert bodies.next("hub")[0].held == Positions.of([1, 2, 3, 7])
    assert bodies.prior("hub", Positions.of([1, 3, 7])) == b"137"
    assert bodies.prior("ship", Positions.of([1, 3, 7])) == b""
    assert bodies.next("ship")[0].held == NOWHERE


def test_holding_no_others_takes_back_what_was_said(bodies: Bodies) -> None:
    for serial in range(1, 5):
        bodies.sent("hub", serial, b"%d" % serial)
    assert not bodies.heard("hub", holding(1, 2, 3))
    assert not bodies.heard("hub", holding(1, 2, 3, everything=True))
    assert bodies.heard("hub", holding(2, everything=True))
    assert bodies.next("hub")[1] == b"2"
    assert bodies.heard("hub", holding(everything=True))
    assert bodies.next("hub")[1] == b""
    assert not bodies.heard("hub", holding(everything=True))


def test_forgetting_is_told_until_something_can_be_read_again(bodies: Bodies) -> None:
    for serial in (1, 2):
        bodies.received("hub", serial, b"x")
        bodies.received("ship", serial, b"x")
    bodies.sent("hub", 1, b"ours")
    bodies.forgot("hub")
    for serial in (2, 3):
        preface, _ = bodies.next("hub")
        assert (preface.serial, preface.held, preface.held_is_all) == (serial, NOWHERE, True)
        bodies.sent("hub", serial, b"ours")
    assert not bodies.next("ship")[0].held_is_all
    assert bodies.next("ship")[0].held == Positions.of([1, 2])
    bodies.received("hub", 9, b"x")
    preface, _ = bodies.next("hub")
    assert (preface.serial, preface.held, preface.held_is_all) == (4, Positions.of([9]), False)


def test_a_serial_given_twice_means_the_newer_body(bodies: Bodies) -> None:
    """As a restored site gives them. Whether the peer holds the newer one is not known."""
    bodies.sent("hub", 1, b"old")
    bodies.heard("hub", holding(1))
    bodies.sent("hub", 1, b"new")
    assert bodies.next("hub")[1] == b""
    bodies.heard("hub", holding(1))
    assert bodies.next("hub")[1] == b"new"


def test_both_directions_stay_within_bounds_and_keep_the_newest(bodies: Bodies) -> None:
    for serial in range(1, 8):
        body = bytes([serial]) * (2 * MIB if serial == 5 else MIB - priors.BODY_COST)
        bodies.sent("hub", serial, body)
        bodies.received("hub", serial, body)
    assert bodies.next("hub")[0].held == Positions.of([5, 6, 7])
    bodies.heard("hub", holding(*range(1, 8)))
    assert bodies.next("hub")[0].prior == Positions.of([6, 7])
    assert len(bodies.next("hub")[1]) == priors.WINDOW
    assert len(bodies.prior("hub", Positions.of([5]))) == priors.WINDOW
