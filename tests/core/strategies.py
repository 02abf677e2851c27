"""Hypothesis strategies over everything a bundle can hold."""

from hypothesis import strategies as st

from mailsync.core.digests import Digests, Likeness, Matched, MoreDigests, Word
from mailsync.core.model import (
    ABSENT,
    Acknowledgement,
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Glimpse,
    Guid,
    Mark,
    Reason,
    RecordId,
    Stream,
)
from mailsync.core.positions import Positions
from mailsync.core.proofs import Alike, Cut, Digest, Lacking, MoreSymbols, Proof, Question, Sketch
from mailsync.core.requests import Request

counters = st.integers(0, 2**53 - 1) | st.integers(0, 50)
random_64 = st.integers(0, 2**64 - 1) | st.integers(0, 2)
tags = st.integers(0, 2**32 - 1)

names = st.sampled_from(["name", "e-mail", "größe", "customers"]) | st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60
)

dots = st.builds(Dot, counters, random_64, tags)
marks = st.builds(Mark, counters, tags)
streams = st.builds(Stream, counters, random_64)

guids = st.builds(
    Guid,
    st.binary(min_size=16, max_size=16)
    | st.binary(min_size=4, max_size=4)
    | st.integers(0, 2**24 - 1).map(lambda counter: bytes(13) + counter.to_bytes(3, "big")),
)
record_ids = st.builds(RecordId, names, guids)

values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-2, 2)
    | st.floats(allow_nan=False)
    | st.sampled_from([0.0, -0.0, 1.0])
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.just(ABSENT)
)
"""Every value an entry can hold but NaN, which is not equal to itself."""

entries = st.builds(Entry, dots, values, st.booleans())
shared_dot = dots.flatmap(
    lambda dot: st.dictionaries(names, st.builds(Entry, st.just(dot), values), max_size=6)
)
rows = st.dictionaries(names, entries, max_size=5) | shared_dot
contexts = st.frozensets(dots, max_size=4)

positions = st.lists(
    st.tuples(st.integers(1, 2**53 - 1) | st.integers(1, 60), st.integers(0, 20)), max_size=6
).map(lambda pairs: Positions.covering((low, min(low + more, 2**53 - 1)) for low, more in pairs))

acknowledgements = st.builds(
    Acknowledgement,
    st.none() | streams,
    positions,
    st.none() | marks,
    st.frozensets(record_ids, max_size=4),
    st.frozensets(names, max_size=3),
    st.integers(0, 23),
    st.frozensets(record_ids, max_size=4),
    st.frozensets(record_ids, max_size=4),
)


def glimpses_of(
    dots: st.SearchStrategy[Dot], names: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[Glimpse, ...]]:
    """Of some of these dots some of these fields."""
    return st.dictionaries(dots, st.frozensets(names, max_size=3), max_size=2).map(
        lambda known: tuple(Glimpse(dot, known[dot]) for dot in sorted(known))
    )


glimpses = glimpses_of(dots, names)
delete_orders = st.builds(
    DeleteOrder,
    counters,
    names,
    guids,
    st.sampled_from(Reason),
    dots,
    rows,
    contexts,
    st.booleans(),
    glimpses,
)
likenesses = st.builds(Likeness, tags, counters, st.booleans())
extractions = st.builds(
    Extraction,
    counters,
    names,
    guids,
    rows,
    contexts,
    st.booleans(),
    st.booleans(),
    st.none() | likenesses,
    glimpses,
)
words = (
    st.builds(Digests, names, tags, st.booleans(), counters, counters, st.binary(max_size=40))
    | st.builds(MoreDigests, names, tags, counters)
    | st.builds(Matched, names, tags, positions)
)

digests = st.builds(
    Digest, counters, st.integers(0, 2**128 - 1), st.lists(names, max_size=2).map(tuple)
)
proofs = (
    st.builds(Question, tags, st.booleans(), digests)
    | st.builds(Alike, tags)
    | st.builds(
        Sketch, tags, st.builds(Cut, counters, positions), digests, counters, st.binary(max_size=40)
    )
    | st.builds(MoreSymbols, tags, counters)
    | st.builds(Lacking, tags, st.lists(tags, max_size=4).map(tuple))
)
requests = st.builds(Request, tags, st.frozensets(names, max_size=3), counters)


def by_position(
    row: DeleteOrder | Extraction,
) -> tuple[int, str, bytes]:
    """The order in which a bundle's rows come back."""
    return row.position, row.dataset, row.guid


items = st.lists(
    delete_orders | extractions, max_size=8, unique_by=lambda row: (row.dataset, row.guid)
).map(lambda rows: sorted(rows, key=by_position))


def _bundle(
    stream: Stream,
    mark: Mark,
    history: list[Mark],
    confirmed: Mark | None,
    holes: Positions,
    rows: list[DeleteOrder | Extraction],
    acknowledgement: Acknowledgement,
    manifest: frozenset[RecordId] | None,
    full_seen: int | None,
    ask: bool,  # noqa: FBT001  as in a bundle
    said: list[Word],
    proven: list[Proof],
    request: Request | None,
    answered: int | None,
    policies: tuple[tuple[str, str], ...] | None,
) -> Bundle:
    return Bundle(
        stream,
        mark,
        tuple(history),
        confirmed,
        holes,
        tuple(row for row in rows if isinstance(row, DeleteOrder)),
        tuple(row for row in rows if isinstance(row, Extraction)),
        acknowledgement,
        manifest,
        full_seen,
        ask,
        tuple(said),
        tuple(proven),
        request,
        answered,
        policies,
    )


bundles = st.builds(
    _bundle,
    streams,
    marks,
    st.lists(marks, max_size=5),
    st.none() | marks,
    positions,
    items,
    acknowledgements,
    st.none() | st.frozensets(record_ids, max_size=6),
    st.none() | tags,
    st.booleans(),
    st.lists(words, max_size=3),
    st.lists(proofs, max_size=2),
    st.none() | requests,
    st.none() | tags,
    st.none() | st.lists(st.tuples(names, names), max_size=3).map(tuple),
)
