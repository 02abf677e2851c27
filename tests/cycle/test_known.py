"""What a dataset is told of the record map: read page by page, in the order of its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsync.core import record_map
from mailsync.core.model import Key
from mailsync.core.places import place_of
from mailsync.cycle import known as known_module
from mailsync.cycle.known import Known
from tests.cycle.sites import pair


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_module, "PAGE", 3)


def test_all_keys_come_once_and_in_order_while_the_map_is_written_to(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    rows = sites.rows("alice")
    keys = [f"[{number}]" for number in (-20, -3, 0, 7, 10, 10**17)] + ['["é"]', '["Z"]', "[2,9]"]
    rows.update({Key(key): {"name": key} for key in keys})
    sites.sync("alice")
    known = Known(sites.sites["alice"], "people")
    found = []
    for key, etag in known.items():
        found.append(key)
        assert known.get(key) == etag
        assert etag is not None
        if len(found) == 4:
            rows[Key("[8]")] = {"name": "new"}
            rows[Key("[-99]")] = {"name": "new, but behind"}
            sites.sync("alice")
    assert found == sorted({*map(Key, keys), Key("[8]")}, key=place_of)
    assert found[:3] == ["[-20]", "[-3]", '["Z"]']
    assert len(known) == 11 == len(list(known))
    with pytest.raises(KeyError):
        known[Key("none")]


def test_where_a_write_stands_there_is_no_etag(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("k")] = {"name": "x"}
    sites.sync("alice")
    site = sites.sites["alice"]
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        [record] = transaction.records.by_key("people", [Key("k")]).values()
        record_map.begin(ledger, record, record.key)
        transaction.save(ledger, 1)
    assert dict(Known(site, "people").items()) == {Key("k"): None}
