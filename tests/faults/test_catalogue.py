"""Every fault that mail is known for, and the test that makes it.

Where: S real servers (Postfix, Dovecot), D whole cycles on mails as bytes, which lie in a mailbox
of Dovecot, B the same in memory, s scripted server, M whole cycles in the memory network, P pure
functions. What has neither S nor D is a matter of our mails alone (F6, F8, F18, F19) or of our
process (F32, F33), a policy or a defect that these two servers do not have (F3, F16, F17, F29,
F30, F36), or takes hundreds of cycles (F21, F22).

| fault | where | module |
|---|---|---|
| F1 no answer after the final dot | S, s | servers, submission |
| F2 an uplink slower than the timeout | S | servers |
| F3 a known Message-ID is swallowed | B | submission |
| F4 headers and identifiers rewritten | B, D | on_the_way |
| F5 too large: announced, at MAIL, after DATA, by bounce | S (announced), s | servers, submission |
| F6 base64 grows | P, B | submission |
| F7 quotas of mails | S, s, B | servers, submission |
| F8 blocked by name, type, content | P | submission |
| F9 attachment replaced by a notice | B, D; thin mails, a forger: B | on_the_way |
| F10 a placeholder first | B, D; in the same place: B | on_the_way |
| F11 Junk | S | servers |
| F12 swallowed without a word | B, D | on_the_way |
| F13 disclaimers around it | B, D | on_the_way |
| F14 structure mangled | B, D | on_the_way |
| F15 encoded anew | B, D | on_the_way |
| F16 sizes are guesses | s | mailbox |
| F17 old dates | s | submission |
| F18 long headers | P | submission |
| F19 message/partial | P | submission |
| F20 bounces: usual, unusual, forged, huge | S (usual), B, P | servers, on_the_way |
| F21 robots that answer | B | on_the_way |
| F22 days late and out of order | B | on_the_way |
| F23 final codes that pass | S (5.1.1), s | servers, submission |
| F24 many copies | S, B | servers, on_the_way |
| F25 renumbered, or listed and not there | B, D; S, s | on_the_way; servers, mailbox |
| F26 another program reads and moves | S | servers |
| F27 other people's deleted mail | S | servers |
| F28 mailbox full: the peer's, ours | S, s, B | servers, submission, mailbox |
| F29 IDLE dead | s | mailbox |
| F30 ranges ignored, or another piece than asked for | s | mailbox |
| F31 throttled | S (too many connections), s | servers, mailbox |
| F32 poison | M | here |
| F33 killed between any two steps | M | here |
| F34 a login rots | S, s | servers, submission |
| F35 replayed, reflected, for somebody else | B, D | here |
| F36 a literal of a hundred gigabytes | s | mailbox |
| F37 STARTTLS not offered, or hidden | S, s | servers, submission |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailsync.core import wire
from mailsync.core.model import Key
from mailsync.cycle import receiving
from mailsync.store.journal import Journal
from tests.cycle.sites import DAY, Sites, pair
from tests.faults.post import posted
from tests.faults.served import read_on

FAULTS = 37


def test_every_fault_has_a_test_and_a_line() -> None:
    sources = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    names = re.findall(r"^(?:async )?def test_(f\d\d\w+)", "\n".join(sources), re.MULTILINE)
    made = {int(number) for name in names for number in re.findall(r"f(\d\d)", name)}
    assert made == set(range(1, FAULTS + 1))
    told = [int(number) for number in re.findall(r"^\| F(\d+) ", __doc__ or "", re.MULTILINE)]
    assert told == list(range(1, FAULTS + 1))
    real = re.findall(r"^\| F\d+ [^|]*\|[^|]*\b[SD]\b", __doc__ or "", re.MULTILINE)
    readme = Path(__file__).parents[2] / "README.md"
    assert f"{len(real)} of them on real servers" in readme.read_text("utf-8")
    marks = ("pytest.mark." + name for name in ("skip", "xfail"))
    assert not any(mark in source for mark in marks for source in sources)


# --- poison --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "owner"),
    [
        ("decode", wire),
        ("receive", receiving),
        ("log_received", receiving),
        ("enter_received", Journal),
    ],
)
def test_f32_poison_is_tried_three_times_and_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, owner: object
) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "poison"}
    sites.sync("alice")
    sites.network.deliver_all()
    with monkeypatch.context() as patched:
        patched.setattr(owner, stage, _raising)
        for _ in range(receiving.ATTEMPTS):
            assert len(sites.sync("bob").rejected) == 1
    with sites.sites["bob"].store.transaction() as transaction:
        ((_, peer, reason, _),) = transaction.inbox.quarantined()
        assert not transaction.inbox.waiting()
    assert peer == "alice"
    assert "ValueError: a defect" in reason
    sites.rows("alice")[Key("2")] = {"name": "Ada"}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("bob")
    assert [row["name"] for row in sites.rows("bob").values()] == ["Ada"]


def _raising(*_arguments: object, **_named: object) -> None:
    raise ValueError("a defect")


def test_f32_a_mail_that_breaks_its_reading_blocks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = pair(tmp_path)
    for number in ("1", "2"):
        sites.rows("alice")[Key(number)] = {"name": number}
        sites.sync("alice")
    sites.network.deliver_all()
    verify, calls = receiving._verify, iter([_raising])

    def first_raises(*arguments: object) -> object:
        return next(calls, verify)(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(receiving, "_verify", first_raises)
    assert len(sites.sync("bob").rejected) == 1
    assert len(sites.rows("bob")) == 1
    sites.clock.now += DAY
    assert _rests(sites)
    assert len(sites.rows("bob")) == 2


def _rests(sites: Sites, rounds: int = 5) -> bool:
    """Do both hold the same after some days?"""
    for _ in range(rounds):
        sites.round()
        sites.clock.now += DAY
    return sites.contents("alice") == sites.contents("bob") != []


# --- killed between any two steps ----------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


def test_f33_killed_between_any_two_steps(tmp_path: Path) -> None:
    kills = 0
    for step in range(1, 200):
        directory = tmp_path / str(step)
        directory.mkdir()
        sites = pair(directory)
        sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 35}
        sites.sync("alice")
        sites.network.deliver_all()
        sites.rows("bob")[Key("7")] = {"name": "Bob"}
        with _killed_at(sites, "bob", step):
            try:
                sites.sync("bob")
            except Killed:
                kills += 1
            else:
                break
        assert _rests(sites)
        assert len(sites.rows("bob")) == len(sites.rows("alice")) == 2
    assert kills > 8


@contextmanager
def _killed_at(sites: Sites, name: str, step: int) -> Iterator[None]:
    """The process dies before its transaction of this number, counted from 1."""
    store = sites.sites[name].store
    begin, numbers = store.transaction, iter(range(1, step))

    def transaction() -> object:
        if next(numbers, None) is None:
            raise Killed
        return begin()

    store.transaction = transaction  # type: ignore[method-assign, assignment]
    yield
    store.transaction = begin  # type: ignore[method-assign]


# --- replayed, reflected, for somebody else ------------------------------------------------


NAMES = ("alice", "bob", "carol")


@pytest.mark.parametrize("place", ["memory", "Dovecot"])
def test_f35_old_foreign_and_reflected_mails_change_nothing(
    tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    sites = Sites(tmp_path)
    for name in NAMES:
        sites.add(name, {peer: "" for peer in NAMES if peer != name})
    post = posted(sites)
    if place == "Dovecot":
        read_on(request.getfixturevalue("mail_server"), sites, post, NAMES)
    for day in range(2):
        sites.rows("alice")[Key("1")] = {"name": "Ada", "day": day}
        for name in NAMES:
            sites.sync(name)
        sites.clock.now += DAY
    old = list(post.sent)
    assert _rests(sites, rounds=2)
    before = [sites.contents(name) for name in NAMES]
    for raw in old:  # to the one it was for, to its sender, to a third
        for name in NAMES:
            post.box(name).put(raw)
    upserts = 0
    for name in NAMES:
        report = sites.sync(name)
        upserts += sum(peer.sent.upserts for peer in report.peers.values())
        assert len(report.rejected) == sum(f"To: {name}@".encode() not in raw for raw in old)
    assert upserts == 0
    assert [sites.contents(name) for name in NAMES] == before
