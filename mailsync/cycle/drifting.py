"""What became of a dataset's fields since it was last seen: noticed before it is read, and told.

Rules
-----
* A column that goes takes nothing with it: the record map keeps its values, for the other sites
  and for the day it comes back.
* Where the key is made of other columns, nothing is read: every row would look new, and every
  record deleted. Only where rows have numbers of the site's own, and the configuration itself
  names the new key, is it the old one under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mailsync.core.drift import Drift, Layout, drift
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.base import Dataset
from mailsync.errors import DatasetError
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

NEWS_MS = 30 * 24 * 3600 * 1000
"""How long a person is warned of what became of a column, unless it comes back before."""

_COLUMN: Final = "column "
"""Begins the name of a warning about one."""


def layout_of(dataset: Dataset) -> Layout | None:
    """What the dataset looks like; None: it holds any fields."""
    if dataset.fields is None:
        return None
    return Layout({name: one.type for name, one in dataset.fields.items()}, tuple(dataset.key))


def notice(
    site: Site, transaction: Transaction, name: str, dataset: Dataset, report: Report
) -> None:
    """Remember what the dataset looks like, and tell what became of it. Raises DatasetError."""
    before, now = transaction.layouts.layout(name), layout_of(dataset)
    if now is None:
        return
    at = site.surroundings.now()
    for warned in transaction.warnings.all():
        if is_of_column(warned.name) and warned.since <= at - NEWS_MS:
            transaction.warnings.drop(warned.name)
    if before is None:
        transaction.records.lay_out(name, now, frozenset())
        return
    require_key(name, before, now, site.sections[name].key)
    found = drift(before, now)
    if found or now.key != before.key:
        sentences = told(name, now, found, transaction.layouts.unheld(name))
        _tell(transaction, name, found, sentences, at, report)
        transaction.records.lay_out(name, now, found.renewed)


def _tell(
    transaction: Transaction,
    name: str,
    found: Drift,
    sentences: dict[str, str],
    at: int,
    report: Report,
) -> None:
    for field, words in sentences.items():
        if field in found.new:
            transaction.warnings.drop(f"{_COLUMN}{name} {field}")
        else:
            transaction.warnings.note(f"{_COLUMN}{name} {field}", words, at)
    if sentences:
        transaction.history.log(Event(at, "columns", "", None, "; ".join(sentences.values())))
    report.warnings += sentences.values()


def require_key(name: str, before: Layout, now: Layout, confirmed: tuple[str, ...] | None) -> None:
    """Raise DatasetError if records are told apart by something else than before."""
    was_local, is_local = (
        not set(one.key) & one.fields.keys() and len(one.key) == 1 for one in (before, now)
    )
    renamed = was_local and is_local and before.key[0] not in now.fields and confirmed == now.key
    if before.key == now.key or renamed:
        return
    way_out = "Give it the old key back, or let it begin anew under another name at every site"
    if was_local and is_local:
        way_out = (
            f"If its rows have kept their numbers, write key = [{_quoted(now.key)}] under "
            f"[datasets.{name}]; else give it the old key back"
        )
    raise DatasetError(
        f"{name}: its key is now ({', '.join(now.key)}), it was ({', '.join(before.key)}): every "
        f"row would look new, and every record deleted. {way_out}"
    )


def is_of_column(warning: str) -> bool:
    """Does the warning of this name tell what became of a column?"""
    return warning.startswith(_COLUMN)


def told(name: str, now: Layout, found: Drift, kept: frozenset[str]) -> dict[str, str]:
    """By field, what became of it. ``kept``: fields of records that the dataset did not hold."""
    fresh = [field for field in found.new if field not in kept]
    sentences = {field: _gone(name, field, list(now.fields), fresh) for field in found.gone}
    for field in found.new:
        news = "what is in it travels" if field in fresh else "the values kept for it come in"
        sentences[field] = f"column {field} of {name} is new; {news}"
    for field, types in found.retyped.items():
        was, is_now = (one or "without type" for one in types)
        sentences[field] = (
            f"column {field} of {name} is {is_now} now, it was {was}; values that do not fit are "
            "held, record by record"
        )
    for field in found.moved:
        sentences[field] = (
            f"column {field} of {name} stands elsewhere, as one made anew does; where it is empty, "
            "the values kept for it come in"
        )
    return sentences


def _gone(name: str, field: str, columns: Sequence[str], fresh: Sequence[str]) -> str:
    """... and what to do if it only has another name: a mapping names all that takes part."""
    words = f"column {field} of {name} is gone; its values are kept and go on travelling"
    if not fresh:
        return words
    shared = {one: field if one == fresh[0] else one for one in columns}
    pairs = ", ".join(f'{_bare(shared[one])} = "{one}"' for one in columns)
    others = f" (or {_quoted(fresh[1:])})" if fresh[1:] else ""
    return (
        f"{words}; if it was renamed to {fresh[0]}{others}, write under [datasets.{name}]: "
        f"map = {{ {pairs} }}"
    )


def _bare(name: str) -> str:
    """A key of TOML."""
    return name if name.isidentifier() and name.isascii() else f'"{name}"'


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
