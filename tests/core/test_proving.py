"""Two ends find out exactly in what they differ, over whatever network, and come to an end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core import findings, proving
from mailsync.core.comparing import named, shared, summary_of
from mailsync.core.model import Dot, Entry, Guid, Link, Record, RecordId, Sighting, Stream
from mailsync.core.positions import Positions
from mailsync.core.proofs import Alike, Lacking, MoreSymbols, Proof, Question, Sketch
from mailsync.core.proving import Finding, Inquiry, Reply
from mailsync.core.reconciliation import SYMBOL_SIZE
from mailsync.core.terms import Terms

HOUR = 3_600_000
DAY = 24 * HOUR
TAG = 77
OLD = 1_000
"""Positions up to this are settled: either end has confirmed them."""


def record(number: int, position: int, value: str | float = "same", stamp: int = 5) -> Record:
    dot = Dot(stamp, 1, number)
    entries = {"name": Entry(dot, value), "kept": Entry(Dot(1, 1, 1), None)}
    context = {entry.dot: Sighting(position) for entry in entries.values()}
    guid = Guid(number.to_bytes(16))
    return Record("people", guid, entries, context, position, had=frozenset({"peer"}))


def link() -> Link:
    settled = Positions.up_to(OLD)
    return Link(
        "peer", frozenset({"people"}), Stream(1, 1), inbound=Stream(1, 2), acked=settled,
        cover=settled,
    )  # fmt: skip


@dataclass
class Ends:
    """Who asks, who answers, and what is on its way between them."""

    ours: list[Record]
    theirs: list[Record]
    repair: bool = False
    pending: bool = False
    now: int = DAY
    inquiry: Inquiry = field(init=False)
    reply: Reply | None = None
    to_them: list[Proof] = field(default_factory=list)
    to_us: list[Proof] = field(default_factory=list)
    again: list[Record] = field(default_factory=list)
    """What we send whole."""
    theirs_again: list[Record] = field(default_factory=list)
    said: list[Proof] = field(default_factory=list)
    horizon: int = 0

    def __post_init__(self) -> None:
        asking = proving.asking(TAG, self.now, urgent=True, repair=self.repair)
        self.inquiry = replace(asking, looked=True)

    def speak(self) -> None:
        """Each end says what is due."""
        self.inquiry = proving.given_up(self.inquiry, self.now, HOUR)
        kind = proving.next_to_say(self.inquiry, self.now, HOUR)
        if kind is not None:
            digest = summary_of(link(), self.ours, self.inquiry.tag).digest
            self._say(self.to_them, proving.said_of(self.inquiry, kind, digest))
            self.inquiry = proving.asked(self.inquiry, self.now)
        answer = None if self.reply is None else proving.said_in_reply(self.reply)
        if self.reply is not None and answer is not None:
            self._say(self.to_us, answer)
            self.reply = proving.answered(self.reply)

    def _say(self, way: list[Proof], proof: Proof) -> None:
        way.append(proof)
        self.said.append(proof)

    def hear(self, proof: Proof) -> None:
        """Whoever it is for hears of it, and looks into it."""
        if isinstance(proof, Alike | Sketch):
            self.inquiry = proving.hear_answer(self.inquiry, proof, link())
            if self.inquiry.finding is None and self.inquiry.unheeded:
                self.inquiry, again = findings.conclude(
                    self.inquiry, link(), lambda: self.ours, horizon=self.horizon, now=self.now
                )
                self.again += again
            return
        self.reply = proving.hear_question(self.reply, proof, link())
        assert self.reply is not None
        if self.reply.alike is None:
            self.reply = findings.answer(
                self.reply, link(), lambda: self.theirs, position=OLD, pending=self.pending,
                now=self.now,
            )  # fmt: skip
        if self.reply.lacking is not None:
            self.theirs_again += findings.lacked(self.reply, link(), self.theirs)
            self.reply = proving.mended(self.reply)

    def run(self, rounds: int = 12, pause: int = HOUR // 60) -> Finding:
        """Everything arrives, once and in order."""
        for _ in range(rounds):
            self.speak()
            for way in (self.to_them, self.to_us):
                while way:
                    self.hear(way.pop(0))
            self.now += pause
        assert self.inquiry.finding is not None
        return self.inquiry.finding

    @property
    def is_at_rest(self) -> bool:
        return self.inquiry.finding is not None and self.inquiry.lacking is None


numbers = st.integers(0, 40)


@st.composite
def ends(draw: st.DrawFn) -> tuple[Ends, set[int], set[int]]:
    """Two ends, the numbers of what differs, and of what is in flight here."""
    here, there, changed, moving = (draw(st.sets(numbers, max_size=6)) for _ in range(4))
    both = draw(st.sets(numbers, max_size=30)) - here - there
    ours = [
        record(n, OLD + 1 + n if n in moving else n + 1, "other" if n in changed else "same")
        for n in sorted(here - there | both | here & there)
    ]
    theirs = [record(n, n + 1) for n in sorted(there | both)]
    lone = here ^ there
    differs = (lone | (changed & (both | here & there))) - (moving & (here | both))
    flying = (lone | (changed & (both | here & there))) & moving & (here | both)
    made = Ends(ours, theirs, draw(st.booleans()), draw(st.booleans()))
    return made, differs, flying


def ids(records: Iterable[Record]) -> set[int]:
    return {int.from_bytes(one.guid) for one in records}


@given(ends())
def test_what_differs_is_told_exactly(case: tuple[Ends, set[int], set[int]]) -> None:
    made, differs, flying = case
    found = made.run()
    assert (found.equal, found.differing, found.in_flight) == (
        not differs,
        len(differs),
        len(flying),
    )
    known = {RecordId(one.dataset, one.guid) for one in made.ours if ids([one]) <= differs}
    assert set(found.records) == known
    assert found.mending == (made.repair and bool(differs))
    if made.repair:
        assert ids(made.again) == differs & ids(made.ours)
        assert ids(made.theirs_again) == differs - ids(made.ours)
    else:
        assert not made.again
        assert not made.theirs_again


@given(ends(), st.lists(st.integers(0, 9), max_size=40))
def test_any_network_ends_in_the_same_finding_or_in_none(
    case: tuple[Ends, set[int], set[int]], chances: list[int]
) -> None:
    """Lost, doubled, late and out of order; then everything arrives."""
    made, differs, flying = case
    kept: list[Proof] = []
    for chance in chances:
        made.speak()
        kept += made.to_them + made.to_us
        made.to_them.clear()
        made.to_us.clear()
        if kept and chance < 8:  # of ten moments, two in which nothing arrives
            at = chance % len(kept)
            made.hear(kept[at] if chance % 3 == 0 else kept.pop(at))
        elif kept:
            kept.pop()
        made.now += HOUR // 2
    found = made.run(40, DAY)
    if found.equal is None:
        assert len(made.said) >= proving.ASKED_MAX
        return
    assert (found.equal, found.differing, found.in_flight) == (
        not differs,
        len(differs),
        len(flying),
    )
    assert made.is_at_rest
    if made.repair:
        assert ids(made.theirs_again) == differs - ids(made.ours)
        assert len(made.theirs_again) == len(ids(made.theirs_again))


@given(ends())
def test_a_peer_that_never_answers_is_asked_ever_more_seldom_and_given_up(
    case: tuple[Ends, set[int], set[int]],
) -> None:
    made, _, _ = case
    times = []
    for _ in range(100):
        before = len(made.said)
        made.speak()
        made.to_them.clear()
        if len(made.said) > before:
            times.append(made.now)
        made.now += HOUR
    assert len(times) == proving.ASKED_MAX
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert made.inquiry.finding is not None
    assert made.inquiry.finding.equal is None


def test_more_symbols_of_the_same_sketch_follow_until_they_are_enough() -> None:
    made = Ends([record(n, n + 1) for n in range(900)], [record(n, n + 1) for n in range(800)])
    made.theirs += [record(n, 1 + n % OLD) for n in range(2_000, 2_100)]
    found = made.run(20)
    assert (found.equal, found.differing) == (False, 200)
    sketches = [one for one in made.said if isinstance(one, Sketch)]
    assert len(sketches) == 3
    assert [one.start for one in sketches] == [0, 64, 256]
    assert len({one.cut for one in sketches}) == 1


def test_what_is_more_than_a_sketch_tells_is_altogether_different() -> None:
    """Both send all they have."""
    ours = [record(n, 1 + n % OLD) for n in range(600)]
    theirs = [record(n, 1 + n % OLD) for n in range(10_000, 10_600)]
    made = Ends(ours, theirs, repair=True)
    found = made.run(20)
    assert (found.equal, found.altogether, found.differing) == (False, True, 600)
    assert ids(made.again) == ids(ours)
    assert ids(made.theirs_again) == ids(theirs)


def test_a_first_sketch_is_small() -> None:
    """Ten records of a thousand were changed."""
    ours = [record(n, 1 + n % OLD, "other" if n < 10 else "same") for n in range(1_000)]
    made = Ends(ours, [record(n, 1 + n % OLD) for n in range(1_000)])
    assert made.run().differing == 10
    kinds = [type(one) for one in made.said]
    assert kinds == [Question, Sketch]
    assert len(made.said[1].symbols) == proving.FIRST * SYMBOL_SIZE  # type: ignore[union-attr]


def test_while_more_is_on_its_way_digests_alone_are_compared_first() -> None:
    made = Ends([record(1, 1)], [record(2, 2)], pending=True)
    made.run()
    assert [type(one) for one in made.said] == [Question, Sketch, MoreSymbols, Sketch]
    assert made.said[1].symbols == b""  # type: ignore[union-attr]


def test_nothing_is_compared_before_all_is_here_that_the_peer_had() -> None:
    made = Ends([record(1, 1)], [record(2, 2)])
    made.speak()
    made.hear(made.to_them.pop())
    made.speak()
    heard = proving.hear_answer(made.inquiry, made.to_us[0], link())
    behind = replace(link(), cover=Positions.up_to(OLD - 1))
    assert findings.conclude(heard, behind, lambda: made.ours, horizon=0, now=DAY).inquiry == heard
    found = findings.conclude(heard, link(), lambda: made.ours, horizon=0, now=DAY).inquiry.finding
    assert found is not None
    assert found.differing == 2


@pytest.mark.parametrize(("horizon", "differing"), [(OLD, 1), (OLD + 1, 0)])
def test_what_was_purged_since_the_peer_looked_is_in_flight(horizon: int, differing: int) -> None:
    found = Ends([], [record(2, 2)], horizon=horizon).run()
    assert (found.differing, found.in_flight) == (differing, 1 - differing)


def test_a_cut_means_nothing_once_a_stream_is_begun_anew() -> None:
    made = Ends([record(1, 1)], [record(2, 2)])
    made.speak()
    made.hear(made.to_them.pop())
    made.speak()
    heard = proving.hear_answer(made.inquiry, made.to_us[0], link())
    assert proving.renewed(heard, link(), 5, DAY) == heard
    restored = replace(link(), out=Stream(2, 9))
    fresh = proving.renewed(heard, restored, 5, DAY)
    assert (fresh.tag, fresh.cut, fresh.looked) == (5, None, True)


def test_values_are_told_apart_by_type_and_every_part_counts() -> None:
    """What merges differently has another digest."""
    base = record(1, 1, 1.0)
    entry = base.entries["name"]
    others = [
        replace(base, entries={**base.entries, "name": each})
        for each in (
            entry._replace(value=1),
            entry._replace(value="1.0"),
            entry._replace(value=True),
            entry._replace(killed=True),
            entry._replace(dot=entry.dot._replace(number=2)),
        )
    ]
    others += [
        replace(base, guid=Guid(bytes(16))),
        replace(base, entries={"name": entry}),
    ]
    digests = {summary_of(link(), [one], TAG).digest for one in (base, *others)}
    assert len(digests) == 1 + len(others)
    moved = replace(base, position=9, known=frozenset({"peer"}), context={})
    assert summary_of(link(), [moved], TAG) == summary_of(link(), [base], TAG)


def test_the_tag_keys_everything_and_a_name_stays_whatever_the_record_holds() -> None:
    one, other = record(1, 1, "a"), record(1, 1, "b")
    (first,), (second,) = (summary_of(link(), [each], TAG).elements for each in (one, other))
    assert first != second
    assert named(first) == named(second)
    assert summary_of(link(), [one], TAG) != summary_of(link(), [one], TAG + 1)


def test_what_is_not_for_the_peer_is_not_shared() -> None:
    terms = Terms(wanted=lambda fields: fields["name"] != "secret")
    filtered = replace(link(), terms={"people": terms})
    assert shared(filtered, record(1, 1, "secret")) is None
    assert shared(filtered, record(1, 1, "open")) is not None
    assert shared(replace(link(), refused=frozenset({"people"})), record(1, 1)) is None
    assert shared(link(), replace(record(1, 1), withdrawn=True)) is None


def test_who_lacks_records_says_so_until_it_is_answered() -> None:
    made = Ends([], [record(1, 1)], repair=True)
    for _ in range(12):
        made.speak()
        for way in (made.to_them, made.to_us):
            while way:
                proof = way.pop(0)
                lost = (
                    isinstance(proof, Lacking)
                    and sum(isinstance(one, Lacking) for one in made.said) < 2
                )
                if not lost:
                    made.hear(proof)
        made.now += HOUR // 3
    assert made.is_at_rest
    assert ids(made.theirs_again) == {1}
    assert [type(one) for one in made.said] == [Question, Sketch, Lacking, Lacking, Alike]
