"""What a kind of text file offers so that a folder of them, or one of them, can be a dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from mailsync.core.model import Fields, Key
from mailsync.datasets.texts.contentline import Malformed


class Parsed(NamedTuple):
    """One record of a text: its fields, or why they cannot be read."""

    fields: Fields
    fault: str = ""


class Document(Protocol):
    """A text taken apart into records."""

    @property
    def records(self) -> Mapping[Key, Parsed]:
        """Every record by the key it has within the text."""
        ...

    @property
    def fault(self) -> str:
        """Something in the text that cannot be read, and not even be told whose it is."""
        ...

    def edited(self, edits: Mapping[Key, Mapping[str, str] | None]) -> bytes:
        """The text with these records changed, added or (None) removed, all else untouched."""
        ...


class Format(Protocol):
    """A kind of text. ``suffix`` of its files, with the dot."""

    suffix: str

    def parse(self, data: bytes) -> Document:
        """Take a text apart; an empty one holds no records. Raises :class:`Malformed`."""
        ...

    def key_for(self, fields: Fields, taken: Collection[Key]) -> Key:
        """The key within a text for a new record at its end."""
        ...

    def canonical(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        """The fields in the one form in which they would be read back."""
        ...

    def settled(self, wanted: Mapping[str, str], present: Fields) -> bool:
        """Does the text now hold what was wanted, apart from what records of a text share?"""
        ...


def only_record(document: Document) -> tuple[Fields, Key]:
    """The one record of a text, and its key within. Raises :class:`Malformed`."""
    if document.fault:
        raise Malformed(document.fault)
    if len(document.records) != 1:
        raise Malformed(f"the file holds {len(document.records)} records instead of one")
    [(key, parsed)] = document.records.items()
    if parsed.fault:
        raise Malformed(parsed.fault)
    return parsed.fields, key


class Unfit(Exception):
    """Fields that this kind of text cannot hold; the message says why."""


def fitting(form: Format, fields: Fields) -> Mapping[str, str]:
    """The canonical form of ``fields``, proved by writing them to a text and reading it.

    The proof is against hostile fields: whatever they do to a text, they do it here, alone.
    Raises :class:`Unfit`.
    """
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if len(texts) < len(fields):
        raise Unfit(f"not a text: {', '.join(sorted(fields.keys() - texts.keys()))}")
    wanted = form.canonical(texts)
    key = form.key_for(wanted, ())
    try:
        document = form.parse(form.parse(b"").edited({key: wanted}))
    except Malformed as error:
        raise Unfit(f"would break the file: {error}") from error
    except UnicodeEncodeError as error:
        raise Unfit(f"no text: {error.reason}") from error
    return _proved(document, key, wanted)


def _proved(document: Document, key: Key, wanted: Mapping[str, str]) -> Mapping[str, str]:
    if document.fault or list(document.records) != [key]:
        raise Unfit(document.fault or "would be another record, or several, in the file")
    present, fault = document.records[key]
    if fault:
        raise Unfit(fault)
    if differing := sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    ):
        raise Unfit(f"would not be read back as it is: {', '.join(differing)}")
    return wanted


def edit(
    form: Format, document: Document, edits: Mapping[Key, Mapping[str, str] | None]
) -> tuple[bytes, Document, dict[Key, str]]:
    """The new text, the same taken apart, and which of the edits could not be made, and why.

    An edit that would change the keys of other records (cards without a UID are numbered) is
    not made.
    """
    refused: dict[Key, str] = {}
    while True:
        todo = {key: wanted for key, wanted in edits.items() if key not in refused}
        data = document.edited(todo)
        after = form.parse(data)
        disturbed = _disturbed(form, document, after, todo)
        if not disturbed or not todo:
            return data, after, refused
        stems = {_stem(key) for key in disturbed}
        culprits = [key for key in todo if _stem(key) in stems] or list(todo)
        refused |= dict.fromkeys(culprits, "would change by which key records are known")


def _disturbed(
    form: Format,
    before: Document,
    after: Document,
    edits: Mapping[Key, Mapping[str, str] | None],
) -> set[Key]:
    kept = {key: parsed.fields for key, parsed in before.records.items()}
    expected: dict[Key, Fields | None] = {**kept, **edits}
    found = {key: parsed.fields for key, parsed in after.records.items()}
    return {
        key
        for key in expected.keys() | found.keys()
        if not _as_expected(form, expected.get(key), found.get(key))
    }


def _as_expected(form: Format, expected: Fields | None, found: Fields | None) -> bool:
    if expected is None or found is None:
        return expected is found
    texts = {name: value for name, value in expected.items() if isinstance(value, str)}
    return form.settled(texts, found)


def _stem(key: Key) -> str:
    """What numbered keys have in common."""
    return key.rpartition("\n")[0] or key
