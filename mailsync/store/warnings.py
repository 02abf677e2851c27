"""What a person should know, and that is so until it is not so any more."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from mailsync.store import schema


class Warned(NamedTuple):
    """One thing to know, in words for a person, and since when it is so."""

    name: str
    text: str
    since: int


class Warnings:
    """Everything a person is warned of now, each under a name of its own."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def note(self, name: str, text: str, now: int) -> bool:
        """It is so; False if that, in these words, is no news."""
        before = next((one for one in self.all() if one.name == name), None)
        if before is not None and before.text == text:
            return False
        self.drop(name)
        since = now if before is None else before.since
        values = {"name": name, "text": text, "since": since}
        self._connection.execute(insert(schema.warning).values(**values))
        return True

    def drop(self, name: str) -> None:
        """It is not so any more."""
        same = schema.warning.c.name == name
        self._connection.execute(delete(schema.warning).where(same))

    def all(self) -> list[Warned]:
        """What is so now."""
        query = select(schema.warning).order_by(schema.warning.c.name)
        return [Warned(*row) for row in self._connection.execute(query)]
