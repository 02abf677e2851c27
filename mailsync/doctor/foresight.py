"""What can be said of the datasets before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Final, NamedTuple

from mailsync.config import DatasetSettings, Settings
from mailsync.cycle.filtering import named_fields
from mailsync.cycle.groups import Memory, Opened, expand
from mailsync.cycle.policies import load_routine, routines_of
from mailsync.cycle.site import accepted_peers
from mailsync.cycle.strangers import unknown_sites
from mailsync.datasets.base import Dataset
from mailsync.datasets.losses import losses, mistakes
from mailsync.errors import (
    DatasetBusy,
    DatasetMissing,
    DatasetReadOnly,
    DatasetUnreachable,
    MailsyncError,
)

_OUT_OF_REACH: Final = (DatasetBusy, DatasetMissing, DatasetReadOnly, DatasetUnreachable)
"""Not the configuration's fault, or not surely."""


class Foreseen(NamedTuple):
    """Something to know of a dataset, or a mistake in its section."""

    dataset: str
    text: str
    is_mistake: bool = False


def foresee(settings: Settings) -> Iterator[Foreseen]:
    """Each dataset's mistakes and losses; of what cannot be reached, only that."""
    with suppress(MailsyncError):  # what is wrong with a card is told by itself
        peers = accepted_peers(settings).values()
        yield from (Foreseen(*one) for one in unknown_sites(settings, peers).items())
    with closing(Opened(settings.path.parent)) as opened:
        expansion = expand(settings, Memory(), opened)
        for group, problem in expansion.unavailable.items():
            yield _told(group, problem)
        for group, tables in expansion.left_out.items():
            for table, reason in tables.items():
                yield Foreseen(group, f"leaves out {table}: {reason}")
        with opened.looking(expansion.sections.values()):
            for name, section in expansion.sections.items():
                try:
                    dataset = opened.open(name, section)
                    yield from (Foreseen(name, one, is_mistake=True) for one in mistakes(dataset))
                    yield from (Foreseen(name, one) for one in losses(dataset))
                    for place in routines_of(section):
                        load_routine(place)
                    yield from (Foreseen(name, one) for one in _misnamed(section, dataset))
                except MailsyncError as problem:
                    yield _told(name, problem)


def _misnamed(section: DatasetSettings, dataset: Dataset) -> Iterator[str]:
    """Fields in filters and rights that the dataset has not. Other sites may have them: a record
    keeps what it has no column for here.
    """
    if dataset.fields is None:
        return
    said = {"": section, **{f"peers.{peer}.": one for peer, one in section.peers.items()}}
    for prefix, terms in said.items():
        for key, names in named_fields(terms).items():
            for field in sorted(names - dataset.fields.keys()):
                close = difflib.get_close_matches(field, list(dataset.fields), n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                yield f"{prefix}{key} names {field}, for which there is no column here{hint}"


def _told(name: str, problem: MailsyncError) -> Foreseen:
    text = "; ".join(str(problem).splitlines())
    if isinstance(problem, _OUT_OF_REACH):
        return Foreseen(name, f"could not be looked at: {text}")
    return Foreseen(name, text, is_mistake=True)
