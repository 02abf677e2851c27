"""What strangers and peers may write into a connection, by the hundred thousand.

Each case takes what was truly said on a link, alters it in a few places, and lets the real reader
have it. A reader may refuse it with an error of its own, or take exactly what was meant; anything
else is a failure, and names the number that brings it back.
Run: ``python -m tests.fuzzing [--seconds N] [--seed N] [--cases N] [--only NAME]``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from mailsync.carriers.base import CONTAINER_MAX
from mailsync.carriers.channel import Channel
from mailsync.carriers.frames import BODY_MAX, NUMBER_SIZE, Frame, FrameKind, written
from mailsync.carriers.tcp import Identity, Listener, _introduce
from mailsync.core import container
from mailsync.core.container import Kind, frame, unframe
from mailsync.core.introduction import NONCE_SIZE, Role, Session, prove
from mailsync.core.sealing import PrivateKeys
from mailsync.errors import PeerError

ALTERATIONS_MAX = 4
CERTIFICATE = b"a certificate, as far as it matters here"
EXTREME_SIZES = (
    *(0, 1, 7, 8, 31, 32, 33, 1_024, 1_025),
    *(CONTAINER_MAX, BODY_MAX, BODY_MAX + 1, 2**31 - 1, 2**31, 2**32 - 1),
)


def keys(name: str) -> PrivateKeys:
    """The same for a name each time."""
    chance = random.Random(name)
    return PrivateKeys(chance.randbytes(32), chance.randbytes(32))


HUB, SHIP, STRANGER = keys("hub"), keys("ship"), keys("stranger")
IDENTITY = {
    "hub": Identity(HUB, {"ship": SHIP.public}),
    "ship": Identity(SHIP, {"hub": HUB.public}),
}


def altered(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few alterations; sometimes with none."""
    for _ in range(chance.randrange(ALTERATIONS_MAX + 1)):
        data = chance.choice(ALTERING)(data, chance)
    return data


def _flipped(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]


def _overwritten(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    octets = chance.randbytes(chance.choice([1, 1, 2, 4, 8, 32]))
    return data[:at] + octets + data[at + len(octets) :]


def _sized(data: bytes, chance: random.Random) -> bytes:
    """Another number of four bytes, such as a length: at its place in a frame, or anywhere."""
    at = chance.choice([1, chance.randrange(len(data) + 1)])
    return data[:at] + chance.choice(EXTREME_SIZES).to_bytes(4, "big") + data[at + 4 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.randrange(40) :]


def _ended(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _inserted(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice([1, 2, 5, 64, 1_500])) + data[at:]


def _repeated(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.randrange(200)]
    at = chance.randrange(len(data) + 1)
    return data[:at] + piece + data[at:]


ALTERING = (_flipped, _overwritten, _sized, _cut, _ended, _inserted, _repeated)


class Mouth:
    """Stands for a writer: keeps what was said."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.transport = None
        self._closed = False

    def write(self, octets: bytes) -> None:
        self.said += octets

    async def drain(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, _: str) -> Mouth:
        return self

    def getpeercert(self, *, binary_form: bool) -> bytes:
        assert binary_form
        return CERTIFICATE


def _ear(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


BINDING = sha256(CERTIFICATE).digest()


async def listening(chance: random.Random) -> str:
    """Somebody calls, and says something like the proof of a peer."""
    listener = Listener(IDENTITY["hub"], b"", _nobody)
    mouth, reader = Mouth(), asyncio.StreamReader()
    work = asyncio.create_task(
        listener._recognise(reader, mouth, BINDING)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    session = Session(BINDING, bytes(mouth.said[5:]), chance.randbytes(NONCE_SIZE))
    sender = chance.choice([SHIP, SHIP, SHIP, STRANGER, HUB])
    proof = prove(Role.CALLER, session, sender=sender, recipient=HUB.public)
    genuine = written(Frame(FrameKind.PROOF, session.caller_nonce + proof))
    said = altered(genuine, chance)
    reader.feed_data(said)
    reader.feed_eof()
    try:
        assert await work == "ship"
    except (PeerError, EOFError) as error:
        assert len(mouth.said) == 5 + NONCE_SIZE, "it said more than one fresh number"
        return type(error).__name__
    assert sender is SHIP
    assert said.startswith(genuine)
    return "proven"


async def calling(chance: random.Random) -> str:
    """Somebody listens where a peer was, and says something like its number and proof."""
    mouth, reader = Mouth(), asyncio.StreamReader()
    hello = written(Frame(FrameKind.HELLO, chance.randbytes(NONCE_SIZE)))
    if chance.randrange(4) == 0:
        hello = altered(hello, chance)
    reader.feed_data(hello)
    work = asyncio.create_task(
        _introduce(reader, mouth, IDENTITY["ship"], "hub")  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    nonce = bytes(mouth.said[5 : 5 + NONCE_SIZE])
    session = Session(BINDING, hello[5 : 5 + NONCE_SIZE], nonce)
    sender = chance.choice([HUB, HUB, HUB, STRANGER, SHIP])
    proof = prove(Role.LISTENER, session, sender=sender, recipient=SHIP.public)
    genuine = written(Frame(FrameKind.PROOF, proof))
    said = altered(genuine, chance)
    reader.feed_data(said)
    reader.feed_eof()
    try:
        await work
    except (PeerError, EOFError) as error:
        return type(error).__name__
    assert sender is HUB
    meant = written(Frame(FrameKind.HELLO, session.listener_nonce)) + genuine
    assert (hello + said).startswith(meant)
    return "proven"


async def talking(chance: random.Random) -> str:
    """A proven peer, or its defect, writes something like frames."""
    frames = [_frame(chance) for _ in range(chance.randrange(1, 6))]
    said = altered(b"".join(map(written, frames)), chance)
    mouth = Mouth()
    taken: list[bytes] = []
    channel = Channel("ship", _ear(said), mouth)  # type: ignore[arg-type]
    why = await channel.serve(taken.append)
    assert why == " ".join(why.split())
    meant = list(_containers_in(said))
    assert taken == [body[NUMBER_SIZE:] for body in meant]
    answers = [written(Frame(FrameKind.TAKEN, body[:NUMBER_SIZE])) for body in meant]
    assert mouth.said == b"".join(answers), "not exactly what was taken is confirmed"
    return "BadFrame" if "frame" in why else "ended"


def _containers_in(said: bytes) -> Iterator[bytes]:
    """Bodies of the frames that hold one, up to the first that none may write, by the manual."""
    sizes = {3: (NUMBER_SIZE, NUMBER_SIZE + 16 * 2**20), 4: (NUMBER_SIZE, NUMBER_SIZE), 5: (0, 0)}
    while len(said) >= 5:
        kind, size = said[0], int.from_bytes(said[1:5], "big")
        least, most = sizes.get(kind, (1, 0))
        if not least <= size <= most or len(said) < 5 + size:
            return
        if kind == FrameKind.CONTAINER:
            yield said[5 : 5 + size]
        said = said[5 + size :]


def _frame(chance: random.Random) -> Frame:
    number = chance.randbytes(NUMBER_SIZE)
    match chance.randrange(4):
        case 0:
            return Frame(FrameKind.ALIVE)
        case 1:
            return Frame(FrameKind.TAKEN, number)
        case _:
            body = frame(Kind.BUNDLE, chance.randbytes(chance.choice([0, 1, 90, 700])))
            return Frame(FrameKind.CONTAINER, number + body)


async def containing(chance: random.Random) -> str:
    """What a peer hands over is something like containers."""
    several = [
        frame(chance.choice(list(Kind)), chance.randbytes(chance.choice([0, 1, 90, 300])))
        for _ in range(chance.randrange(1, 4))
    ]
    said = altered(b"".join(several), chance)
    found = container.find(said)
    problem = container.problem_in(said)
    for one in found:
        assert one in said
        unframe(one)
    if found:
        assert problem is None
        return "found"
    return problem or "nothing"


async def _nobody(_: Channel) -> None:
    raise AssertionError


TARGETS: dict[str, Callable[[random.Random], object]] = {
    "listening": listening,
    "calling": calling,
    "talking": talking,
    "containing": containing,
}


class Failed(Exception):
    """A reader did what it must not."""


async def run(name: str, seed: int, cases: range) -> Counter[str]:
    """These cases of one target; how often it came to what. Raises Failed."""
    outcomes = Counter[str]()
    for case in cases:
        try:
            outcome = await TARGETS[name](random.Random(f"{seed}/{name}/{case}"))  # type: ignore[misc]
        except Exception as error:
            words = f"--only {name} --seed {seed} --cases {case} {case + 1}: {error!r}"
            raise Failed(words) from error
        outcomes[outcome] += 1
    return outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how many cases of each target came to what, and what memory they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, nargs=2, metavar=("FIRST", "END"))
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else list(TARGETS)
    if options.cases:
        for name in names:
            _tell(name, asyncio.run(run(name, options.seed, range(*options.cases))))
        return
    outcomes = {name: Counter[str]() for name in names}
    end, done = time.monotonic() + options.seconds, 0
    while time.monotonic() < end:
        for name in names:
            outcomes[name] += asyncio.run(run(name, options.seed, range(done, done + 500)))
        done += 500
    for name, counted in outcomes.items():
        _tell(name, counted)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    total = sum(counted.total() for counted in outcomes.values())
    sys.stdout.write(f"{total:,} cases, none failed; {peak} MiB of memory at most\n")


def _tell(name: str, outcomes: Counter[str]) -> None:
    sys.stdout.write(f"{name}: {outcomes.total():,} cases: {dict(outcomes)}\n")


if __name__ == "__main__":
    main()
