"""The conformance suite on real servers: Xandikos keeps every byte, Radicale rewrites."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from mailsync.core.model import Fields
from mailsync.datasets.base import Access, Notes
from mailsync.datasets.dav.dataset import DavDataset
from mailsync.datasets.kinds import open_remote
from tests.datasets.conformance import STEPS, Conformance, Stage, run_history
from tests.datasets.test_text_conformance import card, card_text, event, event_text
from tests.servers.dav import PASSWORD, DavCollection, DavServer


def opened(collection: DavCollection, notes: Notes | None = None) -> DavDataset:
    """The collection as a dataset."""
    access = Access(lambda: PASSWORD)
    return open_remote(collection.source, access, {} if notes is None else notes)


def plain_card(number: int, version: int) -> Fields:
    """A card of which Radicale rewrites nothing: of the other sample it drops half a PHOTO."""
    kept = {name: value for name, value in card(number, version).items() if name != "photo"}
    return {**kept, "photo;type=jpeg": "PHOTO;ENCODING=b;TYPE=JPEG:aGVsbG8="}


def plain_event(number: int, version: int) -> Fields:
    """An entry that Radicale takes: an override must have a DTSTART."""
    fields = event(number, version)
    if version % 2:
        return {**fields, "20240102T100000/dtstart": "DTSTART;TZID=Oslo:20240102T110000"}
    return fields


def event_of_now(fields: Fields) -> str:
    """As another program writes it, with times that are none of the samples' short ones."""
    text = event_text(fields)
    return text.replace("DTSTAMP:2024\n", "DTSTAMP:20240101T000000Z\n").replace(
        "DTSTAMP:2025\n", "DTSTAMP:20250101T000000Z\n"
    )


class DavConformance(Conformance):
    """On a server of which a fresh collection is a stage."""

    server: DavServer
    scheme: str
    sample: Callable[[int, int], Fields]
    text: Callable[[Fields], str]
    bad: str

    def build(self, directory: Path) -> Stage:
        collection = self.server.new(self.scheme)
        cls = type(self)

        def unfit(fields: Fields) -> Fields:
            return {**fields, cls.bad: f"{cls.bad.upper()}:a\r\nEND:VCARD"}

        return Stage(
            opened(collection),
            cls.sample,
            put=lambda key, fields: collection.put(key, cls.text(fields)),
            remove=collection.remove,
            touch=lambda key: collection.put(key, collection.text(key).replace("X-T:1\r\n", "")),
            unfit=unfit,
        )

    @settings(
        max_examples=5, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
    )
    @given(STEPS)
    def test_random_histories_agree_with_the_plain_reference(
        self, steps: list[tuple[str, int, int]]
    ) -> None:
        stage = self.build(Path())
        run_history(stage, steps)
        stage.dataset.close()


class OnXandikos(DavConformance):
    @pytest.fixture(autouse=True)
    def _server(self, xandikos: DavServer) -> None:
        type(self).server = xandikos


class OnRadicale(DavConformance):
    @pytest.fixture(autouse=True)
    def _server(self, radicale: DavServer) -> None:
        type(self).server = radicale


class TestCardsOnXandikos(OnXandikos):
    scheme, sample, text, bad = "carddav", staticmethod(card), staticmethod(card_text), "note"


class TestCardsOnRadicale(OnRadicale):
    scheme, bad = "carddav", "note"
    sample, text = staticmethod(plain_card), staticmethod(card_text)


class TestEntriesOnXandikos(OnXandikos):
    scheme, bad = "caldav", "summary"
    sample, text = staticmethod(plain_event), staticmethod(event_of_now)


class TestEntriesOnRadicale(OnRadicale):
    scheme, bad = "caldav", "summary"
    sample, text = staticmethod(plain_event), staticmethod(event_of_now)
