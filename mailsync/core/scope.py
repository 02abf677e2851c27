"""What of the records goes to a peer, and what of the peer's is for our dataset.

Rules
-----
* A record goes as a whole or not at all, but for the fields that stay here.
* Deletes and conflict notes pass every filter; notes about fields that stay here do not go.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from mailsync.core.merge import subject_of
from mailsync.core.model import (
    CONFLICTS,
    Dot,
    Entry,
    Link,
    Record,
    dots_of,
    is_alive,
    values_of,
)
from mailsync.core.terms import OPEN, Terms

Shown = AbstractSet[str] | None
"""Fields that go to a peer; None: all."""


def terms_of(link: Link, dataset: str) -> Terms:
    """What may pass of a dataset."""
    return link.terms.get(dataset, OPEN)


def carries(link: Link, record: Record) -> bool:
    """Does the record's dataset go to the peer (for a note: the dataset it is about)?"""
    name = subject_of(record.dataset, record.entries)
    if name is None or name not in link.datasets or name in link.refused:
        return False
    terms = terms_of(link, name)
    return terms.sends and not (record.dataset == CONFLICTS and _is_of_hidden(record, terms))


def _is_of_hidden(note: Record, terms: Terms) -> bool:
    """Is a conflict about a field that stays here?"""
    return not is_among(terms.shown, noted_field(note))


def is_among(shown: Shown, field: str | None) -> bool:
    """Does this field, or what concerns no field, go to the peer?"""
    return shown is None or field is None or field in shown


def noted_field(note: Record) -> str | None:
    """The field a conflict is about; None: about none."""
    entry = note.entries.get("field")
    return None if entry is None else str(entry.value)


def visible(link: Link, record: Record) -> Mapping[str, Entry]:
    """The fields that go to the peer."""
    shown = terms_of(link, record.dataset).shown
    if shown is None:
        return record.entries
    return {name: entry for name, entry in record.entries.items() if name in shown}


def hidden_dots(link: Link, record: Record) -> frozenset[Dot]:
    """The writes that stay here."""
    if terms_of(link, record.dataset).shown is None:
        return frozenset()
    return dots_of(record.entries) - dots_of(visible(link, record))


def is_wanted(link: Link, record: Record) -> bool:
    """Is this state of the record within the peer's filter? Deletes and notes always are."""
    if record.dataset == CONFLICTS or not is_alive(record.entries):
        return True
    return not record.withdrawn and _shows_something(link, record) and passes(link, record)


def _shows_something(link: Link, record: Record) -> bool:
    """Has the record any of the fields that go to the peer?"""
    if terms_of(link, record.dataset).shown is None:
        return bool(record.entries)
    return bool(values_of(visible(link, record)))


def passes(link: Link, record: Record) -> bool:
    """Does the outbound filter let the record pass, if need be as it was before its end?"""
    wanted = terms_of(link, record.dataset).wanted
    return wanted is None or wanted(values_of(record.entries))


def is_admitted(link: Link, record: Record) -> bool:
    """Is this state of the record, as it came from the peer, for our dataset?"""
    admits = terms_of(link, record.dataset).admits
    return admits is None or admits(values_of(record.entries))
