"""``log GUID``: where a record came from, who wrote it, where it went, what became of it."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest

from mailsync.cli.output import Output
from mailsync.cli.story import tell
from mailsync.core.model import Guid, Key
from mailsync.cycle.run import Extent
from mailsync.cycle.story import Story, stories
from mailsync.datasets.memory import MemoryDataset
from tests.cycle.sites import HOUR, Sites, pair
from tests.cycle.test_guards import a_pair, mass_delete, settle
from tests.cycle.test_identifiers import a_pair as a_short_pair


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36}
    return sites


def the_story(sites: Sites, name: str) -> Story:
    with sites.sites[name].store.transaction() as transaction:
        records = [one for one in transaction.records.all() if one.dataset == "people"]
        (story,) = stories(sites.sites[name], transaction, records[0].guid)
    return story


def passages(sites: Sites, name: str) -> list[tuple[str, str]]:
    return [(one.kind, one.peer) for one in the_story(sites, name).passages]


def test_first_sight_tells_where_and_when(sites: Sites) -> None:
    settle(sites)
    for name in ("alice", "bob"):
        story = the_story(sites, name)
        assert story.first_site == "alice"
        assert abs(story.first_at - 1_790_000_000_000) < HOUR


def test_a_record_was_sent_confirmed_and_came(sites: Sites) -> None:
    sites.sync("alice", Extent(sending=False))
    assert passages(sites, "alice") == []
    settle(sites)
    assert passages(sites, "alice") == [("composed", "bob"), ("confirmed", "bob")]
    assert passages(sites, "bob") == [("received", "alice")]


def test_a_bundle_about_other_records_is_no_part_of_the_story(sites: Sites) -> None:
    settle(sites)
    sites.rows("alice")[Key("2")] = {"name": "Bob"}
    settle(sites)
    assert passages(sites, "alice") == [("composed", "bob"), ("confirmed", "bob")]


def test_each_write_is_told_with_its_fields_site_and_time(sites: Sites) -> None:
    settle(sites)
    key = next(iter(sites.rows("bob")))
    sites.rows("bob")[key] = {"name": "Ada", "age": 37}
    settle(sites)
    for name in ("alice", "bob"):
        first, second = the_story(sites, name).writes
        assert first.site == "alice"
        assert "name" in first.fields
        assert (second.site, second.fields) == ("bob", ("age",))
        assert first.at < second.at
        assert the_story(sites, name).fields["age"].site == "bob"


def test_a_conflict_and_a_delete_are_told(sites: Sites) -> None:
    settle(sites)
    key = next(iter(sites.rows("bob")))
    sites.rows("bob")[key] = {"name": "Ada", "age": 37}
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 38}
    settle(sites)
    (conflict,) = the_story(sites, "alice").conflicts
    assert conflict.field == "age"
    assert the_story(sites, "alice").state == "here under 1"
    del sites.rows("alice")[Key("1")]
    settle(sites)
    assert the_story(sites, "bob").state == "deleted"
    assert passages(sites, "bob")[-1] == ("received", "alice")


def test_what_waits_is_told_at_both_ends(sites: Sites) -> None:
    sites.sites["bob"].datasets["people"] = MemoryDataset(refuses=lambda *_: "no room")
    settle(sites)
    assert [(one.peer, one.reason) for one in the_story(sites, "bob").holds] == [("", "no room")]
    assert [one.peer for one in the_story(sites, "alice").holds] == ["bob"]
    assert the_story(sites, "bob").state == "not in the dataset yet"


def test_a_delete_that_a_guard_stopped_is_told(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    mass_delete(sites)
    with sites.sites["bob"].store.transaction() as transaction:
        guid = transaction.records.unwritten("people", 0, 1, (1,))[0].guid
        (story,) = stories(sites.sites["bob"], transaction, guid)
    assert story.state == "deleted, but its row is still here"
    assert "peers deleted 60 of 100 records" in story.holds[0].reason


def test_a_short_identifier_has_a_story_too(tmp_path: Path) -> None:
    sites = a_short_pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    story = the_story(sites, "alice")
    assert (len(story.record.guid), story.first_site) == (4, "alice")


def test_a_record_nobody_knows_has_none(sites: Sites) -> None:
    with sites.sites["alice"].store.transaction() as transaction:
        assert stories(sites.sites["alice"], transaction, Guid(bytes(16))) == []


def test_it_is_told_in_words_and_in_json(sites: Sites, capsys: pytest.CaptureFixture[str]) -> None:
    settle(sites)
    story = the_story(sites, "alice")
    tell(Output(json=False), [story])
    words = capsys.readouterr().out
    assert f"people {story.record.guid.hex()}: first seen 20" in words
    assert " at alice\n" in words
    assert " alice wrote age, name\n" in words
    assert " sent to bob\n" in words
    assert " confirmed by bob\n" in words
    tell(Output(json=True), [story])
    lines = [json.loads(line) for line in StringIO(capsys.readouterr().out)]
    assert [line["type"] for line in lines] == [
        "record", "write", "field", "field", "passage", "passage",
    ]  # fmt: skip
    assert lines[4]["what"] == "sent"
