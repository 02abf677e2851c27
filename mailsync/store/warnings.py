"""What a person should know, and that is so until it is not so any more."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_NOTE = Statement(insert(schema.warning).values(parameters(schema.warning)))
_DROP = Statement(delete(schema.warning).where(schema.warning.c.name == bindparam("name")))
_ALL = Statement(select(schema.warning).order_by(schema.warning.c.name))


class Warned(NamedTuple):
    """One thing to know, in words for a person, and since when it is so."""

    name: str
    text: str
    since: int


class Warnings:
    """Everything a person is warned of now, each under a name of its own."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def note(self, name: str, text: str, now: int) -> bool:
        """It is so; False if that, in these words, is no news."""
        before = next((one for one in self.all() if one.name == name), None)
        if before is not None and before.text == text:
            return False
        self.drop(name)
        since = now if before is None else before.since
        self._session.run(_NOTE, name=name, text=text, since=since)
        return True

    def drop(self, name: str) -> None:
        """It is not so any more."""
        self._session.run(_DROP, name=name)

    def drop_others(self, prefix: str, known: Collection[str]) -> None:
        """Of those called so and something more, only what is about these is so still."""
        for name in (one.name for one in self.all()):
            if name.startswith(prefix) and name.removeprefix(prefix) not in known:
                self.drop(name)

    def since(self, name: str) -> int | None:
        """Since when it is so (milliseconds since 1970); None if it is not."""
        return next((one.since for one in self.all() if one.name == name), None)

    def all(self) -> list[Warned]:
        """What is so now."""
        return [Warned(*row) for row in self._session.rows(_ALL)]
