"""The protocol's promises after random histories of faults, on the core alone."""

import pytest

from mailsync.core import inbound, outbound, taking
from mailsync.core.decisions import KEPT, close
from mailsync.core.forgetting import ANCESTORS_MAX
from mailsync.core.inbound import Verdict
from mailsync.core.model import CONFLICTS, Key
from mailsync.core.policies import EVERY_FIELD, Deletes, Policy, Way
from mailsync.core.wire import decode, encode
from tests.core.histories import MIXES, run
from tests.core.world import TABLE, BrokenPromise, World

SEEDS_PER_MIX = 40


@pytest.mark.parametrize(
    "mix", range(len(MIXES)), ids=["+".join(sorted(f)) or "plain" for f in MIXES]
)
def test_promises_hold_after_random_histories(mix: int) -> None:
    for seed in range(SEEDS_PER_MIX):
        world, broken = run(1000 * mix + seed, MIXES[mix])
        assert broken is None, f"seed {1000 * mix + seed}: {broken}\n" + "\n".join(world.trace)


@pytest.mark.parametrize(
    ("seed", "mix"),
    [
        # what a merge had overruled was noted, the note lost on its way, the site restored
        (5200286, 23),
        (6201222, 23),
        (6202098, 23),
        (5200637, 22),
        # deleted when the note came, it lives again when all have forgotten what won by the note
        (7200603, 22),
        # deleted at a restored site that had forgotten to whom it had sent the record
        (600191, 9),
        # what was written while a record was out of a filter that it came back into
        (9200268, 14),
        # restored to where it had withdrawn a record of its own that had come back since
        (8200401, 15),
        # edited and forgotten while the record was out of a filter; the peer shows what it had seen
        (710035, 14),
        (10200178, 15),
    ],
)
def test_promises_hold_where_they_once_did_not(seed: int, mix: int) -> None:
    assert run(seed, MIXES[mix])[1] is None


def test_promises_hold_when_bundles_travel_as_bytes() -> None:
    for seed in range(SEEDS_PER_MIX):
        world, broken = run(
            seed, MIXES[seed % len(MIXES)], lambda b: decode(encode(b).content).bundle
        )
        assert broken is None, f"seed {seed}: {broken}\n" + "\n".join(world.trace)


def _let_c_decide(world: World) -> None:
    """C has the say about every field."""
    for name in world.sites:
        way = Way.OURS if name == "C" else Way.ELSEWHERE
        world.policies[name] = {TABLE: Policy({EVERY_FIELD: way})}


def _deleted_while_away(world: World) -> None:
    """A is restored to a record that all forgot; C hears of A before B does, and tells B."""
    world.purging = "action"
    world.insert("B", Key("u0"), 1)
    world.scan("B")
    world.post("B", "A")
    world.write_all("A")
    world.post("A", "B")
    world.backup("A")
    world.delete("B", Key("u0"))
    world.calm()
    world.restore("A")
    for _ in range(3):
        world.post("C", "A")
        world.post("A", "C")
    world.write_all("C")
    world.post("C", "B")
    world.settle()


def test_a_restored_record_waits_for_the_word_of_its_other_holders() -> None:
    world = World("ABC", ["AB", "BC", "AC"], 1)
    _deleted_while_away(world)
    world.check()
    assert not any(world.data.values())


def test_a_restored_record_that_does_not_wait_lives_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "is_held_back", lambda *_: False)
    world = World("ABC", ["AB", "BC", "AC"], 1)
    _deleted_while_away(world)
    with pytest.raises(BrokenPromise, match="resurrected"):
        world.check()


def test_what_another_holds_still_waits_for_no_third_one() -> None:
    world = World("ABC", ["AB", "AC"], 1)
    world.purging = "never"
    world.insert("A", Key("u0"), 2)
    world.scan("A")
    _exchange(world, "AB", "AC", "AB", "AC")
    world.backup("A")
    world.edit("A", Key("u0"), "f0")
    world.scan("A")
    _exchange(world, "AB")
    world.restore("A")
    world.edit("A", Key("u0"), "f1")
    world.scan("A")
    _exchange(world, *["AB"] * 5)
    assert world.sites["A"].links["C"].rejoin
    world.write_all("B")
    world.write_all("A")
    assert world.data["A"].popitem()[1] == world.data["B"].popitem()[1] == {"f0": 30, "f1": 40}


def _revived_from_both_sides(world: World) -> None:
    """B deletes a record and forgets it; then edits that had not seen that come from E and D."""
    key, line = Key("u0"), ("EA", "AB", "BC", "CD")
    world.purging = "action"
    world.insert("B", key, 2)
    world.scan("B")
    _exchange(world, *line, *line)
    world.edit("B", key, "f0")
    world.scan("B")
    _exchange(world, *line, *line)
    for name in world.sites:
        world.write_all(name)
    world.delete("B", key)
    world.scan("B")
    _exchange(world, "AB", "BC")
    world.purge("B")
    assert not world.sites["B"].records
    for name, column in (("E", "f0"), ("D", "f1")):
        (here,) = world.data[name]
        world.edit(name, here, column)
        world.scan(name)
    _exchange(world, "CD", "BC", "EA", "AB")


def _exchange(world: World, *links: str) -> None:
    for link in links:
        for sender, recipient in (tuple(link), tuple(link[::-1])) * 3:
            if world.wants_to_send(sender, recipient):
                world.post(sender, recipient)


def test_an_edit_of_what_another_forgot_is_no_conflict() -> None:
    world = World("ABCDE", ["AB", "BC", "CD", "AE"], 1)
    _revived_from_both_sides(world)
    world.check_quiet()


def test_told_as_if_nothing_was_forgotten_it_looks_like_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taking, "revived", lambda record: record)
    world = World("ABCDE", ["AB", "BC", "CD", "AE"], 1)
    with pytest.raises(BrokenPromise, match="false conflict"):
        _revived_from_both_sides(world)


def _overtaken(world: World) -> Verdict:
    """A bundle with two writes of A's comes late: the newer one settled the position at which it
    holds the record, not that of the first write, and does not hold the record, which is at a
    third one.
    """
    world.insert("B", Key("u0"), 3)
    world.scan("B")
    _exchange(world, "AB")
    world.write_all("A")
    (key,) = world.data["A"]
    world.edit("A", key, "f2")
    world.scan("A")
    world.edit("B", Key("u0"), "f0")
    world.scan("B")
    world.post("B", "A")
    late = world.send("A", "B")
    world.edit("B", Key("u0"), "f1")
    world.scan("B")
    world.post("B", "A")
    world.send("A", "B")
    world.deliver(world.send("A", "B", increment=True))
    verdict = world.deliver(late)
    world.post("B", "A")
    return verdict


def test_a_late_bundle_does_not_settle_what_is_skipped_in_it() -> None:
    world = World("AB", ["AB"], 1)
    assert _overtaken(world) is Verdict.OVERTAKEN
    world.check_quiet()


def test_settled_by_it_a_write_is_never_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "_is_overtaken", lambda *_: False)
    world = World("AB", ["AB"], 1)
    assert _overtaken(world) is Verdict.EXPECTED
    with pytest.raises(BrokenPromise, match="diverged"):
        world.check_quiet()


@pytest.mark.parametrize("first", ["AB", "BA"])
def test_who_brings_a_record_back_overrules_only_the_deletes_known_there(first: str) -> None:
    world = World("AB", ["AB"], 1)
    policy = {TABLE: Policy(deletes=Deletes.DELETE_WINS)}
    world.policies = dict.fromkeys("AB", policy)
    world.insert("A", Key("u0"), 2)
    world.scan("A")
    _exchange(world, "AB")
    world.write_all("B")
    world.delete("A", Key("u0"))
    world.scan("A")
    (record_id,) = world.sites["A"].records
    world.revive("A", record_id)
    (key,) = world.data["B"]
    world.delete("B", key)
    world.scan("B")
    world.post(*first)
    world.check_quiet()
    assert not any(world.data.values())


def _deleted_in_doubt(world: World) -> None:
    """C has the say. A breaks off when it writes an edit of C's, and its users delete the row; B
    edits the same field, and so the record lives on.
    """
    _let_c_decide(world)
    world.insert("C", Key("u0"), 1)
    world.scan("C")
    _exchange(world, "AC", "AB")
    world.write_all("A")
    world.write_all("B")
    world.edit("C", Key("u0"), "f0")
    world.scan("C")
    world.post("C", "A")
    (record_id,) = world.to_write("A")
    world.write_step("A", record_id)
    world.crash("A")
    world.delete("A", min(world.data["A"]))
    world.scan("A")
    world.post("A", "C")
    world.edit("B", min(world.data["B"]), "f0")
    world.scan("B")


def test_a_delete_in_doubt_counts_as_one_that_saw_what_it_deleted() -> None:
    """What C wrote is noted then, as every value that a delete may not have seen, and nobody
    brings it back; as C brings back nothing that others deleted knowingly.
    """
    world = World("ABC", ["AB", "AC"], 1)
    _deleted_in_doubt(world)
    world.check_quiet()
    assert [*world.data["B"].values()] == [*world.data["C"].values()] != []
    assert world.doubted == {20}


def _loses_two_edits(world: World) -> None:
    """C has the say. Its users edit a field twice, and A, who then edits it, too, hears of each."""
    _let_c_decide(world)
    world.insert("A", Key("u0"), 1)
    world.scan("A")
    _exchange(world, "AC")
    world.write_all("C")
    world.backup("C")
    _beaten(world, 2, "f0")


def _beaten(world: World, edits: int, *fields: str) -> None:
    """C's users edit these fields so often, and A, who then edits the first, too, hears of each."""
    letters = []
    for _ in range(edits):
        for field in fields:
            world.edit("C", min(world.data["C"]), field)
        world.scan("C")
        letters.append(world.send("C", "A"))
    world.edit("A", Key("u0"), fields[0])
    world.scan("A")
    for letter in letters:
        world.deliver(letter)


def test_of_what_a_restored_site_forgot_the_last_comes_back() -> None:
    world = World("AC", ["AC"], 1)
    world.purging = "never"
    _loses_two_edits(world)
    world.restore("C")
    world.settle()
    world.check()
    assert world.data["A"].popitem()[1] == world.data["C"].popitem()[1] == {"f0": 30}


def test_what_its_own_site_has_replaced_rests_though_a_person_let_the_last_rest() -> None:
    world = World("AC", ["AC"], 1)
    _loses_two_edits(world)
    notes = {
        record.entries["value"].value: record
        for record in world.sites["A"].records.values()
        if record.dataset == CONFLICTS
    }
    ledger = world.ledger("A")
    close(ledger, notes[30], KEPT, ledger.stroke(world.now, 1))
    world.commit("A", ledger)
    world.settle()
    assert world.data["A"].popitem()[1] == world.data["C"].popitem()[1] == {"f0": 40}


def _replaced_before_it_is_noted(world: World) -> None:
    """C has the say, and hears that an edit of its users lost when they have replaced what won."""
    _let_c_decide(world)
    world.insert("C", Key("u0"), 1)
    world.scan("C")
    world.post("C", "A")
    world.write_all("A")
    world.edit("C", Key("u0"), "f0")
    world.scan("C")
    world.edit("A", min(world.data["A"]), "f0")
    world.scan("A")
    world.post("C", "A")
    world.deliver(world.send("A", "C", increment=True, limit=1))
    world.write_all("C")
    world.edit("C", Key("u0"), "f0")
    world.scan("C")


def test_what_its_own_site_has_replaced_does_not_come_back() -> None:
    world = World("AC", ["AC"], 1)
    _replaced_before_it_is_noted(world)
    world.check_quiet()
    assert world.data["A"].popitem()[1] == world.data["C"].popitem()[1] == {"f0": 40}


def _forgets_a_record(world: World, edits: int) -> None:
    """C has the say, and its edits of a record of A's lose; then C is restored to before it. A
    knows that, and its news goes record by record: the notes first.
    """
    _let_c_decide(world)
    world.purging = "never"
    world.backup("C")
    world.insert("A", Key("u0"), 3)
    world.scan("A")
    _exchange(world, "AC")
    world.write_all("C")
    _beaten(world, edits, "f0", "f1")
    world.edit("A", Key("u0"), "f2")
    world.scan("A")
    world.restore("C")
    world.post("A", "C")
    world.post("C", "A")


def _post_one(world: World, name: str, peer: str) -> str:
    """The next record alone; of which dataset it is."""
    letter = world.send(name, peer, increment=True, limit=1)
    world.deliver(letter)
    return letter.bundle.items[0].dataset


def test_a_restored_site_has_the_say_though_the_note_came_before_the_record() -> None:
    world = World("AC", ["AC"], 1)
    _forgets_a_record(world, 1)
    assert [_post_one(world, "A", "C") for _ in range(2)] == [CONFLICTS, TABLE]
    world.settle()
    world.check()
    assert world.data["A"].popitem()[1] == {"f0": 40, "f1": 50, "f2": 70}


@pytest.mark.parametrize("last", [CONFLICTS, TABLE])
def test_what_it_had_replaced_rests_though_a_person_let_the_last_rest(
    last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order the restored site hears of it, be it of a peer that lets notes wait."""
    monkeypatch.setattr(outbound, "_notes", lambda *_: ())
    world = World("AC", ["AC"], 1)
    _forgets_a_record(world, 2)
    replaced, closed = (
        record for record in world.sites["A"].records.values() if record.dataset == CONFLICTS
    )
    ledger = world.ledger("A")
    close(ledger, closed, KEPT, ledger.stroke(world.now, 1))
    if last == CONFLICTS:
        ledger.bump(replaced)
    world.commit("A", ledger)
    if last == TABLE:
        world.edit("A", Key("u0"), "f2")
        world.scan("A")
    assert [_post_one(world, "A", "C") for _ in range(3)][-1] == last
    world.settle()
    assert world.data["A"].popitem()[1]["f0"] == 80


def _lost_on_its_way_to_c(world: World) -> None:
    """A gave B up. It is restored, and has forgotten that a record of B's went to C, where it never
    came.
    """
    world.purging = "action"
    world.insert("A", Key("u0"), 1)
    world.scan("A")
    _exchange(world, "AC", "AB")
    world.insert("B", Key("u1"), 1)
    world.scan("B")
    _exchange(world, "AB")
    world.expire("A", "B")
    world.backup("A")
    world.send("A", "C")
    world.edit("A", Key("u0"), "f0")
    world.scan("A")
    world.deliver(world.send("A", "C", increment=True))


@pytest.mark.parametrize("deletes", [False, True])
def test_after_a_restore_nobody_waits_for_whom_was_given_up(*, deletes: bool) -> None:
    world = World("ABC", ["AB", "AC"], 1)
    _lost_on_its_way_to_c(world)
    if deletes:
        world.delete("B", Key("u1"))
        world.scan("B")
        world.expire("B", "A")
        world.purge("B")
    world.restore("A")
    world.post("C", "A")
    _exchange(world, "AC", "AC")
    world.write_all("C")
    assert len(world.data["C"]) == 2
    world.settle()
    world.check()
    assert {len(rows) for rows in world.data.values()} == {1 if deletes else 2}


@pytest.mark.parametrize("edits_too", [False, True])
def test_what_edits_replaced_is_forgotten_though_a_peer_was_given_up(*, edits_too: bool) -> None:
    """But for some of it, and when it returns, that is a conflict only with what it had written."""
    world = World("ABC", ["AB", "AC"], 1)
    world.insert("B", Key("u0"), 1)
    world.scan("B")
    _exchange(world, "AB", "AC", "AB")
    for name in world.sites:
        world.write_all(name)
    if edits_too:
        world.edit("B", Key("u0"), "f0")
    world.expire("A", "B")
    for _ in range(3 * ANCESTORS_MAX):
        world.edit("A", min(world.data["A"]), "f0")
        world.scan("A")
        _exchange(world, "AC")
        world.collect("A")
        (record,) = world.sites["A"].records.values()
        assert len(record.context) <= 1 + ANCESTORS_MAX + 1  # the newest that it is known to hold
    world.settle()
    world.check()
    notes = [one for one in world.sites["A"].records.values() if one.dataset == CONFLICTS]
    assert len(notes) == edits_too


@pytest.mark.parametrize("apart", ["AB", "AB BC"])
def test_what_was_overwritten_knowingly_does_not_come_back_with_whom_was_given_up(
    apart: str,
) -> None:
    """B heard of a write of C, which has the say, by C alone; A's users saw it and replaced it, and
    may have forgotten that when B returns to A, which never told them what B holds.
    """
    world = World("ABC", ["AB", "AC", "BC"], 1)
    _let_c_decide(world)
    world.insert("A", Key("u0"), 1)
    world.scan("A")
    _exchange(world, "AB", "AC", "BC", "AB")
    for name in world.sites:
        world.write_all(name)
    for edge in apart.split():
        world.expire(edge[0], edge[1])
        world.expire(edge[1], edge[0])
    for turn in range(ANCESTORS_MAX):
        world.edit("C", min(world.data["C"]), "f0")
        world.scan("C")
        if turn == 0 or "BC" not in apart:
            world.post("C", "B")
            world.write_all("B")
        _exchange(world, "AC")
        world.write_all("A")
        world.edit("A", min(world.data["A"]), "f0")
        world.scan("A")
        _exchange(world, "AC")
        for name in "AC":
            world.write_all(name)
            world.collect(name)
    _exchange(world, "AB")
    world.settle()
    world.check()
    (row,) = world.data["A"].values()
    assert world.authors[row["f0"]] == "A"
    assert not [one for one in world.sites["A"].records.values() if one.dataset == CONFLICTS]


@pytest.mark.parametrize("own_note", [False, True])
def test_who_has_the_say_has_it_in_a_record_that_lives_again(*, own_note: bool) -> None:
    """An edit of C lost against one of B, which then deleted the record; and A's edit of another
    field revived it. ``own_note``: C noticed the loss itself, else B did.
    """
    world = World("ABC", ["AB", "AC", "BC"], 1)
    _let_c_decide(world)
    world.insert("B", Key("u0"), 2)
    world.scan("B")
    _exchange(world, "AB", "BC")
    for name in world.sites:
        world.write_all(name)
    world.edit("C", min(world.data["C"]), "f0")
    world.scan("C")
    world.edit("B", Key("u0"), "f0")
    world.scan("B")
    world.delete("B", Key("u0"))
    world.scan("B")
    if not own_note:
        world.post("C", "B")
    world.post("B", "C")
    world.write_all("C")
    assert not world.data["C"]
    world.edit("A", min(world.data["A"]), "f1")
    world.settle()
    world.check()
    (row,) = world.data["C"].values()
    assert {name: world.authors[value] for name, value in row.items()} == {"f0": "C", "f1": "A"}


def _replaced_while_the_note_is_late(world: World) -> None:
    """C has the say, and an edit of its users lost. The mail that says so is late, and those who
    have not seen it replace what won.
    """
    _let_c_decide(world)
    world.insert("A", Key("u0"), 1)
    world.scan("A")
    _exchange(world, "AC")
    world.write_all("C")
    _beaten(world, 1, "f0")
    world.send("A", "C")


def test_who_has_the_say_has_it_though_the_note_is_later_than_two_edits() -> None:
    world = World("AC", ["AC"], 1)
    _replaced_while_the_note_is_late(world)
    world.edit("A", Key("u0"), "f0")
    world.scan("A")
    world.deliver(world.send("A", "C", increment=True))
    world.check_quiet()
    assert world.data["A"].popitem()[1] == world.data["C"].popitem()[1] == {"f0": 20}


def test_what_its_own_site_and_then_another_replaced_does_not_come_back_by_a_late_note() -> None:
    world = World("AC", ["AC"], 1)
    _replaced_while_the_note_is_late(world)
    world.edit("C", min(world.data["C"]), "f0")
    world.scan("C")
    world.deliver(world.send("C", "A", increment=True))
    world.write_all("A")
    assert world.data["A"][Key("u0")] == {"f0": 40}
    world.edit("A", Key("u0"), "f0")
    world.scan("A")
    world.deliver(world.send("A", "C", increment=True))
    world.check_quiet()
    assert world.data["A"].popitem()[1] == world.data["C"].popitem()[1] == {"f0": 50}
