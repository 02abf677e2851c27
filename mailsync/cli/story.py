"""``mailsync log GUID``: all that is known of one record, for people and as JSON lines."""

from __future__ import annotations

from collections.abc import Iterable

from mailsync.cli.output import Output, moment
from mailsync.core.model import Absent, Value
from mailsync.cycle.conflicts import SHORT
from mailsync.cycle.story import PASSAGES, Story


def tell(output: Output, stories: Iterable[Story]) -> None:
    """Each story, oldest things first."""
    for story in stories:
        _tell_of_record(output, story)
        _tell_of_writes(output, story)
        for passage in story.passages:
            what = PASSAGES[passage.kind]
            output.show(f"  {moment(passage.at)} {what} {passage.peer}")
            at, (done, _) = moment(passage.at), what.split()
            output.line("passage", at=at, what=done, peer=passage.peer)
        _tell_of_trouble(output, story)


def _tell_of_record(output: Output, story: Story) -> None:
    record = story.record
    where = f" at {story.first_site}" if story.first_site else ""
    output.show(f"{record.dataset} {record.guid.hex()}: first seen {moment(story.first_at)}{where}")
    output.show(f"  {story.state}, since {moment(story.since)}")
    output.show(f"  known to: {', '.join(sorted(record.had)) or '-'}")
    output.line(
        "record",
        dataset=record.dataset,
        guid=record.guid,
        first_seen=moment(story.first_at),
        first_site=story.first_site or None,
        state=story.state,
        since=moment(story.since),
        key=record.key,
        peers=sorted(record.had),
    )


def _tell_of_writes(output: Output, story: Story) -> None:
    for write in story.writes:
        what = ", ".join(write.fields) or "fields that were written anew since"
        output.show(f"  {moment(write.at)} {write.site} wrote {what}")
        output.line("write", at=moment(write.at), site=write.site, fields=write.fields)
    for name, standing in story.fields.items():
        output.line(
            "field",
            dataset=story.record.dataset,
            guid=story.record.guid,
            field=name,
            site=standing.site,
            when=moment(standing.at),
            deleted=standing.is_gone,
        )


def _tell_of_trouble(output: Output, story: Story) -> None:
    for conflict in story.conflicts:
        lost = (
            "a delete" if conflict.field is None else f"{conflict.field} {_shown(conflict.loser)}"
        )
        winner, loser = conflict.sites
        output.show(
            f"  conflict {conflict.id[:SHORT]}: {lost} of {loser} lost against {winner}; "
            f"{conflict.closed or 'open'}"
        )
        output.line("conflict", id=conflict.id, field=conflict.field, closed=conflict.closed)
    for hold in story.holds:
        where = f"at {hold.peer}" if hold.peer else "here"
        output.show(f"  held {where}: {hold.reason}")
        output.line("held", peer=hold.peer or None, reason=hold.reason)


def _shown(value: Value | Absent) -> str:
    return "(nothing)" if isinstance(value, Absent) else repr(value)
