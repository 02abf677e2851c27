"""What a check found."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailsync.errors import Exit, MailsyncError


class Grade(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as it should, or not for long."""
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result: what was looked at, what was seen, and what to do about it."""

    name: str
    grade: Grade
    what: str
    fix: str = ""
    """One sentence; empty if all is well."""
    exit_code: Exit = Exit.OK


def good(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name, Grade.OK, what)


def doubtful(name: str, what: str, fix: str) -> Finding:
    """A warning."""
    return Finding(name, Grade.WARNING, what, fix)


def bad(name: str, what: str, fix: str, exit_code: Exit = Exit.FAILED) -> Finding:
    """A failure."""
    return Finding(name, Grade.FAILURE, what, fix, exit_code)


def failed(name: str, error: MailsyncError) -> Finding:
    """The failure that an error is; its advice is the fix."""
    what = "; ".join(str(error).splitlines())
    return Finding(name, Grade.FAILURE, what, error.advice, error.exit_code)
