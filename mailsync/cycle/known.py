"""What the record map knows of a dataset, as a dataset asks for it: read page by page.

Memory holds one page, however large the map. Each page is read in a transaction of its own, so
the map may be written to meanwhile.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping

from mailsync.core.model import Etag, Key
from mailsync.cycle.site import Site

PAGE = 2_000
"""Keys read at once."""


class Known(Mapping[Key, Etag | None]):
    """Each key to its etag; iterated in the order of :func:`mailsync.core.places.place_of`."""

    def __init__(self, site: Site, dataset: str) -> None:
        """What the site's map knows of the dataset, as it is when asked."""
        self._site = site
        self._dataset = dataset

    def __getitem__(self, key: Key) -> Etag | None:
        with self._site.store.transaction() as transaction:
            return transaction.records.etag(self._dataset, key)

    def __iter__(self) -> Iterator[Key]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        with self._site.store.transaction() as transaction:
            return transaction.records.count_keys(self._dataset)

    def items(self) -> ItemsView[Key, Etag | None]:
        """Key and etag of each."""
        return _Items(self)

    def pages(self) -> Iterator[list[tuple[Key, Etag | None]]]:
        """The same, so many at once."""
        last: Key | None = None
        while True:
            with self._site.store.transaction() as transaction:
                page = transaction.records.known(self._dataset, last, PAGE)
            if not page:
                return
            yield page
            last = page[-1][0]


class _Items(ItemsView[Key, Etag | None]):
    _mapping: Known

    def __iter__(self) -> Iterator[tuple[Key, Etag | None]]:
        for page in self._mapping.pages():
            yield from page
