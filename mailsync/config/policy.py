"""How a section says what becomes of conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

from mailsync.config.section import absolute
from mailsync.names import NAME_RULE, is_name

EVERY_FIELD: Final = "*"
_PLAIN: Final = frozenset({"newest", "ask"})
_FORM: Final = '"newest", "ask", "site:NAME" or "routine:FILE:NAME"'


def routine_place(text: str, info: ValidationInfo) -> str:
    """``FILE:NAME`` with the file's path made absolute. Raises ValueError."""
    file, _, name = text.rpartition(":")
    if not name.isidentifier():
        raise ValueError('routine must be of the form "FILE:NAME", e.g. "rules.py:phone"')
    return f"{absolute(file, info)}:{name}"


def _policies(given: object, info: ValidationInfo) -> dict[str, str]:
    """The policy of each field; ``*``: all others."""
    if isinstance(given, str):
        return {EVERY_FIELD: _policy(given, info)}
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f'must be {_FORM}, or these by field: {{ "*" = "newest", f = "ask" }}')
    found = {EVERY_FIELD: "newest"}
    for name, policy in given.items():
        try:
            found[str(name)] = _policy(policy, info)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def _policy(text: object, info: ValidationInfo) -> str:
    kind, _, what = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind == "site":
        if not is_name(what):
            raise ValueError(f"a site's name must be {NAME_RULE}")
        return f"site:{what}"
    if kind == "routine":
        return f"routine:{routine_place(what, info)}"
    if text not in _PLAIN:
        raise ValueError(f"must be {_FORM}")
    return kind


def _as_written(policies: dict[str, str]) -> str | dict[str, str]:
    return policies if len(policies) > 1 else policies[EVERY_FIELD]


ConflictPolicies = Annotated[
    dict[str, str], BeforeValidator(_policies), PlainSerializer(_as_written)
]
"""By field, ``*`` for all others: ``newest``, ``ask``, ``site:NAME`` or ``routine:FILE:NAME``."""
