"""Compression of a bundle's body (zstd, RFC 8878), bounded when undone.

Rules
-----
* The size after decompression is announced in the frame; what announces none or too much is
  refused before anything is decompressed, and what turns out otherwise is refused after.
* The level is a matter of the sender's processor; every receiver undoes every level.
"""

from __future__ import annotations

import sys
from typing import Final

from mailsync.errors import BadFormat

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN: Final = b"\x00"
ZSTD: Final = b"\x01"

FRAME_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""Starts every zstd frame; the codec number says it already, so it does not travel."""

LEVEL: Final = 19
FAST_LEVEL: Final = 12
FAST_FROM: Final = 4 * 2**20
"""Bytes from which the slow level would take seconds for very little."""

MIN_WINDOW_LOG: Final = 23
"""log2 of the window of level 19; smaller limits would refuse what we send."""


def compress(raw: bytes) -> bytes:
    """Codec number and body, whichever codec is shorter."""
    frame = zstd.compress(raw, level=LEVEL if len(raw) < FAST_FROM else FAST_LEVEL)
    packed = frame.removeprefix(FRAME_MAGIC)
    return ZSTD + packed if len(packed) < len(raw) else PLAIN + raw


def decompress(packed: bytes, max_size: int) -> bytes:
    """What ``compress`` was given. Raises BadFormat for more than ``max_size`` bytes."""
    codec, body = packed[:1], packed[1:]
    if codec == ZSTD:
        return _decompress_frame(FRAME_MAGIC + body, max_size)
    if codec != PLAIN:
        raise BadFormat(f"compressed in a way this mailsync does not know (codec {codec.hex()})")
    if len(body) > max_size:
        raise BadFormat(f"a bundle of {len(body)} bytes is larger than accepted ({max_size})")
    return body


def _decompress_frame(frame: bytes, max_size: int) -> bytes:
    try:
        size = _announced(frame)
        if size is None:
            raise BadFormat("does not announce its size")
        if size > max_size:
            raise BadFormat(f"a bundle of {size} bytes is larger than accepted ({max_size})")
        window_log = max(MIN_WINDOW_LOG, size.bit_length())
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window_log}
        decompressor = zstd.ZstdDecompressor(options=options)
        raw = decompressor.decompress(frame, max_length=size + 1)
    except (zstd.ZstdError, ValueError, EOFError) as problem:
        raise BadFormat(f"cannot be decompressed: {problem}") from None
    if len(raw) != size or not decompressor.eof or decompressor.unused_data:
        raise BadFormat("decompresses to another size than it announces")
    return raw


def _announced(frame: bytes) -> int | None:
    """Bytes after decompression, None if the frame does not say."""
    return zstd.get_frame_info(frame).decompressed_size
