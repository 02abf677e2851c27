"""How positions and times are written for people."""

from __future__ import annotations

from datetime import UTC, datetime

from mailsync.core.positions import Positions


def shown(positions: Positions) -> str:
    """Positions as people write them: ``3-5, 9``; long lists are cut."""
    pieces = [str(low) if low == high else f"{low}-{high}" for low, high in positions.intervals[:4]]
    more = len(positions.intervals) - len(pieces)
    return ", ".join(pieces) + (f" and {more} more" if more > 0 else "")


def moment(milliseconds: int) -> str:
    """A time in ISO 8601, UTC, to the minute."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="minutes")
