"""The configuration's policies, at the places where conflicts come up.

What a policy decides is decided in the transaction that notices the conflict. A routine that
gives up leaves the newest value standing and its reason in the note, for people at every site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import cast

from mailsync.config import DatasetSettings
from mailsync.core import policies
from mailsync.core.agreement import DEFAULTS, WORDS_MAX, Stances
from mailsync.core.ancestry import Before, Replaced, common_ancestor
from mailsync.core.decisions import note_of
from mailsync.core.disputes import Decide, Dispute, Undecided
from mailsync.core.fitness import unfit
from mailsync.core.ledger import Ledger
from mailsync.core.merge import Note
from mailsync.core.model import ABSENT, Absent, Fields, Link, Value
from mailsync.core.policies import (
    EVERY_FIELD,
    Deletes,
    Policy,
    Way,
    Writer,
)
from mailsync.errors import BadConfiguration
from mailsync.routines import PLAIN, RoutineFailed, read_routines, routine
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

Names = Callable[[int], str]
"""A site's name by its number."""


@dataclass(frozen=True, slots=True)
class Side:
    """One value of a conflict, as a routine sees it."""

    value: Value
    """None also where somebody removed the field."""
    site: str
    at: int
    """When it was written, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a routine decides about."""

    dataset: str
    field: str
    lost: Side
    stands: Side
    base: Value
    """What both sides replaced; None also where that is not known, or there was nothing."""
    knows_base: bool
    """Is it known?"""
    record: Fields
    """The whole record as it stands."""


def policies_of(
    sections: Mapping[str, DatasetSettings], site: str, names: Names
) -> dict[str, Policy]:
    """The policies of every dataset that has others than the defaults. ``site``: our name."""
    found = {}
    for name, section in sections.items():
        deletes = Deletes(section.delete_conflict)
        fields = {each: _way(text, site, names) for each, text in section.conflict.items()}
        if deletes is not Deletes.EDIT_WINS or set(fields.values()) != {Way.NEWEST}:
            found[name] = Policy(fields, deletes)
    return found


def stances(sections: Mapping[str, DatasetSettings], names: Collection[str]) -> Stances:
    """What peers are told of these datasets' policies: those that are not the defaults."""
    found = {name: _in_words(sections[name]) for name in sorted(names)}
    return tuple((name, words) for name, words in found.items() if words != DEFAULTS)


def _in_words(section: DatasetSettings) -> str:
    """A dataset's policies, the same wherever they are the same; of routines their names alone."""
    fields = {name: _plain(policy) for name, policy in section.conflict.items()}
    others = fields.pop(EVERY_FIELD)
    told = [f"{name} {policy}" for name, policy in sorted(fields.items()) if policy != others]
    words = ", ".join([others, *told, section.delete_conflict])
    if len(words.encode()) <= WORDS_MAX and words.isprintable():
        return words
    return f"policy {hashlib.sha256(words.encode()).hexdigest()[:16]}"


def _plain(policy: str) -> str:
    kind, _, place = policy.partition(":")
    return f"routine:{Path(place).name}" if kind == "routine" else policy


def settle(
    found: Mapping[str, Policy],
    transaction: Transaction,
    links: Mapping[str, Link],
    ledger: Ledger,
    now: int,
    bits: Callable[[int], int],
    writer: Writer | None,
) -> None:
    """Decide what the ledger's transaction leaves to us. Call before the ledger is saved.

    ``writer``: see :func:`mailsync.core.policies.due`.
    """
    transaction.records.fetch(ledger.changed)
    due = policies.due(ledger, found, links, writer)
    if not due:
        return
    bases = _bases(transaction, ledger, due, writer)
    undecided = policies.decide(ledger, found, due, ledger.stroke(now, bits(32)), bases)
    for own, reason in undecided.items():
        noted = ledger.get(own)
        note = None if noted is None else note_of(noted)
        if note is not None:
            words = f"{note.record.dataset} {note.field}: {reason}; the newest value stands"
            transaction.history.log(Event(now, "undecided", "", bytes(note.record.guid), words))


def _bases(
    transaction: Transaction, ledger: Ledger, due: policies.Due, writer: Writer | None
) -> policies.BaseOf:
    """What there was before both sides of what is due; looked up once, if somebody asks."""

    @cache
    def replaced() -> Replaced:
        fields = ((note.record, note.field) for _, note in due.losses if note.field is not None)
        return transaction.formers.replaced(fields)

    def base_of(note: Note) -> Before | None:
        if not isinstance(writer, Link):
            return None
        return common_ancestor(ledger, writer, replaced(), note)

    return base_of


def routines_of(section: DatasetSettings) -> list[str]:
    """The routines that decide about conflicts, ``FILE:NAME``."""
    parts = (policy.partition(":") for policy in section.conflict.values())
    return sorted({place for kind, _, place in parts if kind == "routine"})


def load_routine(place: str) -> Callable[..., object]:
    """The function ``FILE:NAME``. Raises BadConfiguration."""
    path, _, name = place.rpartition(":")
    return routine(Path(path), read_routines(Path(path)), name)


def _way(text: str, site: str, names: Names) -> Way | Decide:
    kind, _, what = text.partition(":")
    if kind == "site":
        return Way.OURS if what == site else Way.ELSEWHERE
    return Way(kind) if kind != "routine" else _decide(what, names)


def _decide(place: str, names: Names) -> Decide:
    load = cache(partial(load_routine, place))
    path, _, name = place.rpartition(":")
    file = Path(path).name
    shown = f"{file}:{name}"

    def decide(dispute: Dispute) -> Value | Absent:
        try:
            result = load()(_shown(dispute, names))
        except (BadConfiguration, RoutineFailed) as error:
            # the reason travels: where our files are is nobody's business
            raise Undecided(str(error).replace(place, shown).replace(path, file)) from error
        if type(result) not in PLAIN:
            kind = type(result).__name__
            raise Undecided(f"{shown} gave a {kind}; a field holds a text or a number")
        value = cast("Value", result)
        reason = unfit({dispute.field: value})
        if reason is not None:
            raise Undecided(f"{shown}: {reason}")
        is_removal = value is None and ABSENT in {dispute.lost.value, dispute.stands.value}
        return ABSENT if is_removal else value

    return decide


def _shown(dispute: Dispute, names: Names) -> Conflict:
    lost, stands = (
        Side(_plain_value(one.value), names(one.site), one.at)
        for one in (dispute.lost, dispute.stands)
    )
    base, known = _plain_value(dispute.base), dispute.knows_base
    return Conflict(dispute.dataset, dispute.field, lost, stands, base, known, dispute.record)


def _plain_value(value: Value | Absent) -> Value:
    return None if isinstance(value, Absent) else value
