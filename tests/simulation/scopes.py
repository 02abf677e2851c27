"""What passes between one site and the others, as values and as their configurations say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Scope:
    """What passes between the scoped site and the others; what is not said is not restricted."""

    where: str = ""
    """Which records the others send it."""
    keeps: bool = False
    """Does it keep, as they were, records that are no longer for it?"""
    shown: tuple[str, ...] | None = None
    """The fields that the others send it."""
    admits: str = ""
    """Which records it lets into its dataset."""
    granted: tuple[str, ...] | None = None
    """The fields that it may write at the others."""
    allowed: tuple[str, ...] | None = None
    """What it may do to records at the others."""
    there: str = "both"
    """The direction, as the others say."""
    here: str = "both"
    """The direction, as it says itself."""

    @property
    def hears(self) -> bool:
        """Does anything of the others come to it?"""
        return self.there != "receive" and self.here != "send"

    @property
    def is_heard(self) -> bool:
        """Does anything of its own come to the others?"""
        return self.there != "send" and self.here != "receive"

    @property
    def is_one_way(self) -> bool:
        """Does nothing pass in one of both directions?"""
        return not (self.hears and self.is_heard)

    @property
    def is_timed(self) -> bool:
        """May a record enter or leave as time goes on?"""
        return "born" in self.where + self.admits

    def may(self, act: str) -> bool:
        """May its users do this to records of the others?"""
        return self.is_heard and (self.allowed is None or act in self.allowed)

    def may_write(self, field: str) -> bool:
        """May they in every case write this field?"""
        acts = self.may("insert") and self.may("update")
        return acts and (self.granted is None or field in self.granted)

    @property
    def is_refused(self) -> bool:
        """May some of what its users wrote be refused?"""
        return self.granted is not None or self.allowed is not None

    def shows(self, field: str | None) -> bool:
        """Does this field, or what concerns no field, come to it?"""
        return self.shown is None or field is None or field in self.shown

    @property
    def of_others(self) -> str:
        """Lines of the others' sections about it."""
        send = [f'where = "{self.where}"'] if self.where else []
        send += [f"fields = {list(self.shown)}"] if self.shown is not None else []
        lines = [f"send = {{ {', '.join(send)} }}"] if send else []
        lines += ['on_leave = "keep"'] if self.keeps else []
        if self.granted is not None:
            lines.append(f"receive = {{ fields = {list(self.granted)} }}")
        if self.allowed is not None:
            lines.append(f"allow = {list(self.allowed)}")
        lines += [f'direction = "{self.there}"'] if self.there != "both" else []
        return "\n".join(lines)

    @property
    def its_own(self) -> str:
        """Lines of its own sections about the others."""
        lines = [f'receive = {{ where = "{self.admits}" }}'] if self.admits else []
        lines += [f'direction = "{self.here}"'] if self.here != "both" else []
        return "\n".join(lines)


EVERYTHING: Final = Scope()

_CONDITIONS: Final = (
    "",
    "tag = 'a'",
    "tag <> 'a'",
    "tag in ('a', 'b') or f0 is null",
    "age(born) < '60d'",
    "not (tag = 'c' and born < now())",
)
_FIELDS: Final = (None, ("f0", "tag"), ("f1", "extra"), ("f0", "extra", "tag", "born"), ("tag",))
_RIGHTS: Final = (
    Scope(allowed=("insert",)),
    Scope(allowed=("insert", "update")),
    Scope(allowed=("update", "delete")),
    Scope(allowed=()),
    Scope(granted=("f0",)),
    Scope(granted=("f1", "extra", "tag"), allowed=("insert", "update")),
    Scope(granted=()),
)
_DIRECTIONS: Final = (
    Scope(there="send"),
    Scope(there="receive"),
    Scope(here="send"),
    Scope(here="receive"),
)

_FILTERS: Final = tuple(Scope(where) for where in _CONDITIONS)
_LEAVING: Final = tuple(Scope(where, keeps=True) for where in _CONDITIONS)
_INBOUND: Final = tuple(Scope(admits=where) for where in _CONDITIONS)
_SHOWING: Final = tuple(Scope(shown=fields) for fields in _FIELDS)

SCOPES: Final[dict[str, tuple[Scope, ...]]] = {
    "filters": _FILTERS,
    "filters-restore": _FILTERS,
    "leaving": _LEAVING,
    "leaving-restore": _LEAVING,
    "inbound": _INBOUND,
    "inbound-restore": _INBOUND,
    "fields": _SHOWING,
    "fields-changed": _SHOWING,
    "fields-restore": _SHOWING,
    "rights": _RIGHTS + _DIRECTIONS,
}
"""By mix, what may be decided to pass."""
