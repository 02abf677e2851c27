"""The rules of the protocol, each with a way to break it in the product as it runs.

Nothing of this is in the product: functions of it are replaced while a schedule plays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest import mock

from mailsync.core import (
    decisions,
    delivery,
    forgetting,
    inbound,
    manifests,
    merge,
    outbound,
    policies,
    recognition,
    record_map,
    restoration,
    taking,
    unifying,
)
from mailsync.core.desired import desired_fields
from mailsync.core.inbound import Received, Verdict
from mailsync.core.ledger import Ledger
from mailsync.core.merge import join, killed
from mailsync.core.model import (
    CONFLICTS,
    NO_MARKER,
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Fields,
    Link,
    Reason,
    Record,
    RecordId,
    Sighting,
    dots_of,
    is_alive,
)
from mailsync.core.positions import Positions
from mailsync.cycle import detecting, materialising, unions
from mailsync.datasets.base import Outcome, Result, Write
from mailsync.datasets.memory import MemoryDataset
from tests.core import broken_rules

Patch = AbstractContextManager[object]
Links = Mapping[str, Link]


@dataclass(frozen=True)
class Ablation:
    """A broken rule, and the schedules that should notice."""

    claim: str
    """What is done wrong."""
    broken: Callable[[], Sequence[Patch]]
    sites: tuple[str, ...] = ()
    """Mixes of whole sites ..."""
    core: tuple[frozenset[str], ...] = ()
    """... and features of histories of the core alone, which are played much faster ..."""
    side: tuple[frozenset[str], ...] = ()
    """... or of histories of the core side by side with the reference, for rules about what is
    noted where no promise says it."""

    @property
    def levels(self) -> list[str]:
        """Where the rule is broken, the fastest first."""
        return [level for level in ("core", "side", "sites") if getattr(self, level)]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product as it is without the rule."""
        with ExitStack() as stack:
            for patch in self.broken():
                stack.enter_context(patch)
            yield


def _swap(owner: object, name: str, new: object) -> Patch:
    return mock.patch.object(owner, name, new)


def _reuse_dots() -> list[Patch]:
    def stroke(self: Ledger, now: int, number: int) -> Dot:
        self.site = replace(self.site, stamp=self.site.stamp + 1)
        return Dot(self.site.stamp, self.site.number, 0)

    # else what two values of one write do not tell any more is mended where they meet
    return [_swap(Ledger, "stroke", stroke), _swap(merge, "same_written", lambda *_: True)]


def _forget_who_showed() -> list[Patch]:
    real = Ledger.keep

    def keep(self: Ledger, record: Record) -> Record:
        return real(self, replace(record, known=frozenset()))

    return [_swap(Ledger, "keep", keep)]


def _take_covered() -> list[Patch]:
    real = inbound._in_order

    def in_order(bundle: Bundle) -> Iterator[Extraction | DeleteOrder]:
        return (replace(item, position=1 << 60) for item in real(bundle))

    return [_swap(inbound, "_in_order", in_order)]


def _settle_the_new_range_only() -> list[Patch]:
    real = outbound.compose

    def compose(ledger: Ledger, links: Links, peer: str, *rest: Any, **more: Any) -> Any:
        bundle, link = real(ledger, links, peer, *rest, **more)
        before = links[peer].sent[-1].top if links[peer].sent else 0
        unsettled = Positions.up_to(before) - links[peer].acked
        return replace(bundle, holes=bundle.holes | unsettled), link

    return [_swap(outbound, "compose", compose)]


def _purge_at_once() -> list[Patch]:
    real = forgetting.purge

    def purge(ledger: Ledger, links: Links, record: Record) -> dict[str, Link]:
        with _swap(forgetting, "is_settled", lambda *_: True):
            return real(ledger, links, record)

    return [_swap(forgetting, "purge", purge)]


def _judge_leniently(overlooked: Verdict) -> list[Patch]:
    real = inbound.judge

    def judge(link: Link, position: int, bundle: Bundle) -> Verdict:
        verdict = real(link, position, bundle)
        return Verdict.EXPECTED if verdict is overlooked else verdict

    return [_swap(inbound, "judge", judge)]


def _ignore_tags() -> list[Patch]:
    def proves(link: Link, position: int, bundle: Bundle) -> bool:
        told = bundle.acknowledgement
        if told.stream is None:
            return False
        if told.stream != link.out:
            return told.stream.generation >= link.out.generation
        if told.last is not None and told.last.top > position:
            return True
        if bundle.confirmed is None:
            return False
        if bundle.stream != link.inbound:
            return link.inbound is None or bundle.stream.generation > link.inbound.generation
        return link.last is None or bundle.confirmed.top > link.last.top

    return [
        _swap(inbound, "proves_our_restore", proves),
        _swap(restoration, "proves_our_restore", proves),
    ]


def _heal_nothing() -> list[Patch]:
    real = taking.take

    def take(*arguments: Any, **more: Any) -> None:
        with _swap(taking, "has", lambda *_: False):
            real(*arguments, **more)

    return [_swap(inbound, "take", take), _swap(taking, "_shows_less", lambda *_: False)]


def _set_no_marker() -> list[Patch]:
    real_begin, real_settle = materialising._begin, record_map.settle

    def begin(site: Any, *rest: Any) -> Any:
        begun = real_begin(site, *rest)
        with site.store.peek() as transaction:
            ledger = transaction.ledger()
            for record in begun.records if begun is not None else ():
                ledger.keep(replace(record, marker=NO_MARKER))
            transaction.save(ledger, site.surroundings.now())
        return begun

    def settle(ledger: Ledger, record: Record, etag: Any, *_: object) -> Record:
        return real_settle(ledger, replace(record, marker=desired_fields(record)), etag)

    return [_swap(materialising, "_begin", begin), _swap(record_map, "settle", settle)]


def _write_blindly() -> list[Patch]:
    def write(self: MemoryDataset, wanted: Write) -> Outcome:
        if wanted.wanted is None:
            self.rows.pop(wanted.key, None)
        else:
            self.rows[wanted.key] = dict(wanted.wanted)
        return Outcome(Result.WRITTEN)

    return [_swap(MemoryDataset, "_write", write)]


def _keep_notes_at_home() -> list[Patch]:
    real = delivery.is_pending

    def is_pending(link: Link, record: Record) -> bool:
        return record.dataset != CONFLICTS and real(link, record)

    return [_swap(outbound, "is_pending", is_pending)]


def _prune_early() -> list[Patch]:
    def prune(ledger: Ledger, links: Links, record: Record) -> None:
        if is_alive(record.entries):
            own = dots_of(record.entries)
            context = {dot: seen for dot, seen in record.context.items() if dot in own}
            ledger.keep(replace(record, context=context))

    return [_swap(forgetting, "prune", prune)]


def _take_unknown_from_stale() -> list[Patch]:
    real = inbound._take_all

    def take_all(ledger: Ledger, links: Links, peer: str, *rest: Any) -> Received:
        trusted = {**links, peer: replace(links[peer], stale=False)}
        received = real(ledger, trusted, peer, *rest)
        link = replace(received.links[peer], stale=links[peer].stale)
        return replace(received, links={**received.links, peer: link})

    return [_swap(inbound, "_take_all", take_all)]


def _keep_fulls() -> list[Patch]:
    real = forgetting.purge

    def purge(ledger: Ledger, links: Links, record: Record) -> dict[str, Link]:
        after = real(ledger, links, record)
        return {
            name: replace(link, fulls=links[name].fulls, asked_at=links[name].asked_at)
            for name, link in after.items()
        }

    return [_swap(forgetting, "purge", purge)]


def _trust_manifests_blindly() -> list[Patch]:
    real = manifests.take_manifest

    def take_manifest(ledger: Ledger, link: Link, manifest: frozenset[RecordId]) -> None:
        with _swap(manifests, "has", lambda *_: True):
            real(ledger, link, manifest)

    return [_swap(inbound, "take_manifest", take_manifest)]


def _purge_without_a_mark() -> list[Patch]:
    real = forgetting.purge

    def purge(ledger: Ledger, links: Links, record: Record) -> dict[str, Link]:
        after = real(ledger, links, record)
        if record.id not in ledger.dropped:
            return after
        return {
            name: link if record.position in link.acked else replace(link, stale=False)
            for name, link in after.items()
        }

    return [_swap(forgetting, "purge", purge)]


def _withdraw_by_deleting() -> list[Patch]:
    real = outbound._withdrawal

    def withdrawal(link: Link, record: Record) -> DeleteOrder:
        order = real(link, record)
        return replace(order, reason=Reason.DELETED, entries=killed(record.entries))

    return [_swap(outbound, "_withdrawal", withdrawal)]


def _spare_what_has_no_column() -> list[Patch]:
    real = record_map._deleted

    def deleted(record: Record, base: Fields | None, _: object, *, doubt: bool) -> Any:
        return real(record, base, None, doubt=doubt)

    return [_swap(record_map, "_deleted", deleted)]


def _decide_at_home() -> list[Patch]:
    def close(ledger: Ledger, note: Record, how: str, stroke: Dot) -> None:
        entries = {**note.entries, decisions.RESOLUTION: Entry(stroke, how)}
        context = {**note.context, stroke: Sighting(note.position)}
        ledger.keep(replace(note, entries=entries, context=context))

    return [_swap(decisions, "close", close)]


PLAIN: Final = frozenset[str]()
EXPIRE: Final = (frozenset({"expire", "purge", "increment"}), frozenset({"expire", "purge"}))
FILTER: Final = (frozenset({"filter"}), frozenset({"filter", "increment", "crash"}))
RESTORE_FILTER: Final = frozenset({"restore", "filter"})
RESTORE: Final = (frozenset({"restore"}), frozenset({"restore", "increment", "crash", "skew"}))


def _overrule_in_silence() -> Sequence[Patch]:
    real: Any = policies._settle

    def settle(ledger: Ledger, *rest: Any) -> str | None:
        with _swap(ledger, "note", lambda _: None):
            return real(ledger, *rest)  # type: ignore[no-any-return]

    return [_swap(policies, "_settle", settle)]


def _kill_in_silence() -> Sequence[Patch]:
    real: Any = policies._carry_out

    def carry_out(ledger: Ledger, record_id: RecordId) -> None:
        with _swap(ledger, "note", lambda _: None):
            real(ledger, record_id)

    return [_swap(policies, "_carry_out", carry_out)]


ABLATIONS: Final[dict[str, Ablation]] = {
    "reuse_dots": Ablation(
        "writes are numbered by a counter that a restore rolls back, and taken by their numbers",
        _reuse_dots,
        core=RESTORE,
        sites=("restore",),
    ),
    "no_known": Ablation(
        "it is forgotten which peer showed a record", _forget_who_showed, ("plain",)
    ),
    "no_cover_skip": Ablation(
        "records at positions already covered are taken again",
        _take_covered,
        core=(frozenset({"increment"}), PLAIN),
        sites=("mail", "plain"),
    ),
    "range_holes": Ablation(
        "a bundle settles only what came since the one before",
        _settle_the_new_range_only,
        ("mail", "plain"),
    ),
    "purge_at_once": Ablation(
        "tombstones go before all peers confirmed",
        _purge_at_once,
        core=(PLAIN,),
    ),
    "no_fork_check": Ablation(
        "a sender may forget what it sent",
        lambda: _judge_leniently(Verdict.FORKED),
        core=RESTORE,
        sites=("restore-state", "clone"),
    ),
    "no_tag_check": Ablation(
        "marks are positions without tags",
        _ignore_tags,
        core=RESTORE,
        sites=("restore", "restore-state"),
    ),
    "trust_old_cover": Ablation(
        "after a restore, bundles are taken from senders that do not know of it",
        lambda: _judge_leniently(Verdict.UNAWARE),
        core=RESTORE,
        sites=("restore",),
    ),
    "no_rejoin": Ablation(
        "after a restore, records are sent on before their other holders answered",
        lambda: [_swap(outbound, "is_held_back", lambda *_: False)],
        core=(frozenset({"restore", "purge", "silence"}),),
    ),
    "no_heal": Ablation(
        "what a peer's newest word shows to be missing is not sent again",
        _heal_nothing,
        core=(frozenset({"restore", "filter"}),),
    ),
    "no_shadow": Ablation(
        "the dataset is compared with the merged record",
        broken_rules.compare_with_the_merged_record,
        core=(PLAIN,),
    ),
    "no_marker": Ablation("writes are not announced by a marker", _set_no_marker, ("crash",)),
    "blind_write": Ablation("the dataset is written without comparing", _write_blindly, ("crash",)),
    "lww_no_log": Ablation(
        "the last writer wins, nothing is noted",
        lambda: [_swap(Ledger, "note", lambda *_: None)],
        core=(PLAIN,),
        sites=("plain",),
    ),
    "no_notes": Ablation("conflicts are noted at home only", _keep_notes_at_home, ("plain",)),
    "early_prune": Ablation(
        "ancestors are forgotten before all peers confirmed",
        _prune_early,
        core=(PLAIN,),
        sites=("plain",),
    ),
    "no_gate": Ablation(
        "unknown records are taken from a peer behind the horizon",
        _take_unknown_from_stale,
        core=EXPIRE,
    ),
    "no_manifest": Ablation(
        "manifests are ignored",
        lambda: [_swap(inbound, "take_manifest", lambda *_: None)],
        core=EXPIRE,
    ),
    "keep_fulls": Ablation(
        "a purge leaves full bundles under way in force",
        _keep_fulls,
        core=EXPIRE,
    ),
    "manifest_trusts_all": Ablation(
        "what a manifest does not list was always deleted",
        _trust_manifests_blindly,
        core=EXPIRE,
        sites=("silence",),
    ),
    "purge_known_only": Ablation(
        "tombstones go in spite of a silent peer, and it is not marked",
        _purge_without_a_mark,
        core=EXPIRE,
    ),
    "withdraw_as_delete": Ablation(
        "leaving a filter is sent as a delete",
        _withdraw_by_deleting,
        core=(frozenset({"filter"}),),
        sites=("filters",),
    ),
    "core_blind_write": Ablation(
        "rows are written without comparing",
        broken_rules.write_blindly,
        core=(PLAIN, frozenset({"crash"})),
    ),
    "core_no_marker": Ablation(
        "writes of rows are not announced", broken_rules.set_no_marker, core=(frozenset({"crash"}),)
    ),
    "settled_writes": Ablation(
        "writes left out of a bundle are settled by it",
        broken_rules.settle_what_was_left_out,
        core=(frozenset({"increment"}),),
    ),
    "no_whole_for": Ablation(
        "what a peer has forgotten is not sent whole again",
        broken_rules.send_nothing_whole_again,
        core=(*RESTORE, *FILTER, *EXPIRE, RESTORE_FILTER),
        sites=("filters-restore", "silence", "again"),
    ),
    "no_blind_to": Ablation(
        "what was covered of a record while it was withdrawn is taken for seen",
        broken_rules.trust_what_a_withdrawer_covered,
        core=(*FILTER, RESTORE_FILTER),
    ),
    "no_complete": Ablation(
        "a sender that says it cannot know is taken to know",
        broken_rules.infer_from_cover_always,
        core=(*FILTER, RESTORE_FILTER, *EXPIRE),
    ),
    "no_see": Ablation(
        "the clock does not follow what was received",
        broken_rules.let_the_clock_stand,
        core=(frozenset({"crash", "skew"}),),
        sites=("clock",),
    ),
    "no_doubt": Ablation(
        "after a crash, a user's edit is never in doubt",
        broken_rules.overlook_doubt,
        side=(frozenset({"crash", "skew"}),),
    ),
    "no_say": Ablation(
        "nobody brings back the value of the site that has the say",
        lambda: [_swap(policies, "_is_ours", lambda *_: False)],
        core=(frozenset({"site"}),),
        sites=("policies",),
    ),
    "late_say": Ablation(
        "notes do not say which write won",
        lambda: [_swap(policies, "_name_winners", lambda *_: None)],
        core=(frozenset({"site", "increment", "crash", "skew"}),),
    ),
    "overrule_in_silence": Ablation(
        "what a policy's decision overrules is not noted",
        _overrule_in_silence,
        core=(frozenset({"site"}),),
        sites=("policies",),
    ),
    "undead": Ablation(
        "where deletes win, edits that had not seen one bring the record back",
        lambda: [_swap(policies, "_carry_out", lambda *_: None)],
        core=(frozenset({"delete-wins"}),),
        sites=("policies",),
    ),
    "kill_in_silence": Ablation(
        "where deletes win, what they had not seen is not noted",
        _kill_in_silence,
        core=(frozenset({"delete-wins"}),),
        sites=("policies",),
    ),
    "no_unifying": Ablation(
        "two records that need one key stay two",
        lambda: [_swap(unions, "unify", lambda _, holder, *rest: holder)],
        ("keys",),
    ),
    "unify_in_silence": Ablation(
        "of two records that become one, what the older said is not noted",
        lambda: [_swap(unifying, "join", lambda *rest: (join(*rest)[0], []))],
        ("keys",),
    ),
    "gone_is_emptied": Ablation(
        "a column that goes is what users emptied",
        lambda: [
            _swap(record_map, "within", lambda record, _: record),
            _swap(detecting, "held_by", lambda *_: None),
        ],
        ("columns",),
    ),
    "blank_is_edit": Ablation(
        "what stands in a column where nobody wrote is an edit",
        lambda: [
            _swap(recognition, "_written", lambda _record, _states, current, _columns: current)
        ],
        ("columns",),
    ),
    "no_renewal": Ablation(
        "a column made anew is taken for the old one",
        lambda: [_swap(recognition, "_renewed", lambda record, *_: record)],
        ("columns",),
    ),
    "spare_unheld": Ablation(
        "a delete spares the fields that the dataset does not hold",
        _spare_what_has_no_column,
        ("columns",),
    ),
    "restored_in_name": Ablation(
        "what a person brings back is noted as such, and not written",
        lambda: [_swap(decisions, "restore", lambda *_: True)],
        ("decided",),
    ),
    "decided_at_home": Ablation(
        "what a person decides stays at that site",
        _decide_at_home,
        ("decided",),
    ),
    "no_landed": Ablation(
        "after a crash, every write is taken to have landed",
        broken_rules.take_every_marker_for_landed,
        core=(frozenset({"crash", "skew"}),),
    ),
}
"""By the name of the rule."""
