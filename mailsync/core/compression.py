"""Compression of a bundle's body (zstd, RFC 8878), bounded when undone.

Both ends may hold a *prior*: earlier bytes that resemble what is compressed now, used as the
prefix of the frame's window. Whatever repeats from there costs next to nothing.

Rules
-----
* The size after decompression is announced in the frame; what announces none or too much is
  refused before anything is decompressed, and what turns out otherwise is refused after.
* The level is a matter of the sender's processor; every receiver undoes every level.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from mailsync.errors import BadFormat

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FRAME_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""Starts every zstd frame; the preface says it already, so it does not travel."""

LEVEL: Final = 19
FAST_LEVEL: Final = 12
FAST_FROM: Final = 4 * 2**20
"""Bytes from which the slow level would take seconds for very little."""

MIN_WINDOW_LOG: Final = 23
"""log2 of the window of level 19; smaller limits would refuse what we send."""

PRIOR_MIN: Final = 8
"""Bytes below which zstd takes nothing for a prior."""


def compressor(prior: bytes = b"") -> Callable[[bytes], bytes]:
    """What makes a zstd frame, without its magic, of any bytes.

    A prior of a megabyte takes a tenth of a second to digest, however little is compressed:
    one digest serves all that is compressed against it.
    """
    known = _known(prior)

    def compress(raw: bytes) -> bytes:
        level = LEVEL if len(raw) < FAST_FROM else FAST_LEVEL
        digest = None if known is None else known.as_digested_dict
        return zstd.compress(raw, level=level, zstd_dict=digest).removeprefix(FRAME_MAGIC)

    return compress


def decompress(packed: bytes, max_size: int, prior: bytes = b"") -> bytes:
    """What a compressor was given. Raises BadFormat for more than ``max_size`` bytes."""
    frame = FRAME_MAGIC + packed
    try:
        size = _announced(frame)
        if size is None:
            raise BadFormat("does not announce its size")
        if size > max_size:
            raise BadFormat(f"a bundle of {size} bytes is larger than accepted ({max_size})")
        window_log = max(MIN_WINDOW_LOG, size.bit_length())
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window_log}
        known = _known(prior)
        prefix = None if known is None else known.as_prefix
        decompressor = zstd.ZstdDecompressor(zstd_dict=prefix, options=options)
        raw = decompressor.decompress(frame, max_length=size + 1)
    except (zstd.ZstdError, ValueError, EOFError) as problem:
        raise BadFormat(f"cannot be decompressed: {problem}") from None
    if len(raw) != size or not decompressor.eof or decompressor.unused_data:
        raise BadFormat("decompresses to another size than it announces")
    return raw


def _known(prior: bytes) -> zstd.ZstdDict | None:
    return zstd.ZstdDict(prior, is_raw=True) if len(prior) >= PRIOR_MIN else None


def _announced(frame: bytes) -> int | None:
    """Bytes after decompression, None if the frame does not say."""
    return zstd.get_frame_info(frame).decompressed_size
