"""Requests: a person at one site asks a peer to synchronize some datasets now.

Rules
-----
* A request is said once, in a signed bundle; a number tells it from others. Lost, it is made again
  by the person who made it.
* It is answered once: a bundle that holds what is due, or nothing, says its number.
"""

from __future__ import annotations

from typing import NamedTuple


class Request(NamedTuple):
    """What a peer is asked for."""

    number: int
    """32 random bits."""
    datasets: frozenset[str]
    """None: all."""
    deletes: int = 0
    """So many deletes of the sender's in each of them are meant, says a person there."""

    @property
    def words(self) -> str:
        """What is asked for, for people."""
        words = f"to synchronize {', '.join(sorted(self.datasets)) or 'everything'} now"
        return f"{words}; {self.deletes} deletes are meant" if self.deletes else words


class Asked(NamedTuple):
    """What became of a request, ours or a peer's. Times are milliseconds since 1970."""

    request: Request
    at: int
    """When it was made, or came."""
    is_said: bool = False
    """It is on its way, or its answer is."""
    answered_at: int | None = None
