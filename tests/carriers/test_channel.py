"""When the other end of a link has no more to say, as far as it has heard us."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from mailsync.carriers.channel import Channel
from mailsync.carriers.frames import NUMBER_SIZE, Frame, FrameKind, written

ALIVE = Frame(FrameKind.ALIVE)
TAKEN = Frame(FrameKind.TAKEN, bytes(NUMBER_SIZE))
CONTAINER = Frame(FrameKind.CONTAINER, bytes(NUMBER_SIZE) + b"content")


def channel_of(*frames: Frame) -> tuple[Channel, Any]:
    """A link by which these frames come before it ends, and what we write into it."""
    reader, writer = asyncio.StreamReader(), mock.Mock()
    writer.is_closing.return_value = False
    for frame in frames:
        reader.feed_data(written(frame))
    reader.feed_eof()
    return Channel("bob", reader, writer), writer


@pytest.mark.parametrize(
    ("frames", "rests"),
    [
        ([], False),
        ([ALIVE], True),
        ([ALIVE, TAKEN], False),
        ([ALIVE, CONTAINER], False),
        ([ALIVE, TAKEN, CONTAINER, ALIVE], True),
    ],
)
async def test_what_it_said_before_it_heard_or_told_us_more_does_not_count(
    frames: list[Frame], *, rests: bool
) -> None:
    channel, _ = channel_of(*frames)
    noted: list[bool] = []
    await channel.serve(lambda _: None, lambda: noted.append(channel.is_at_rest))
    assert channel.is_at_rest == rests
    assert noted == [True] * frames.count(ALIVE)


async def test_that_we_have_no_more_to_say_is_said_once_until_more_is_said() -> None:
    channel, writer = channel_of(CONTAINER)
    channel.rest()
    channel.rest()
    assert writer.write.call_args_list == [mock.call(written(ALIVE))]
    with mock.patch.object(channel, "close"):
        await channel.serve(lambda _: None)
    channel.rest()
    said = [call.args[0] for call in writer.write.call_args_list]
    assert said == [written(ALIVE), written(TAKEN), written(ALIVE)]
