"""The promises, looked for in a world at rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailsync.core.decisions import RESTORED
from mailsync.core.delivery import has
from mailsync.core.forgetting import ANCESTORS_MAX
from mailsync.core.merge import Note
from mailsync.core.model import ABSENT, CONFLICTS, NO_MARKER, Guid, RecordId, dots_of, is_alive
from mailsync.core.policies import Deletes, Way
from tests.simulation import copying, scoping
from tests.simulation.machine import Machine, Row, numbers
from tests.simulation.world import BrokenPromise, World


def check(world: World) -> None:
    """Every promise that can be seen in what there is now. Raises BrokenPromise."""
    for error in world.errors:
        raise BrokenPromise(error)
    if not world.is_rough:
        for suspicion in world.suspicions:
            raise BrokenPromise(suspicion)
    journals = {name: machine.journal() for name, machine in world.machines.items()}
    notes = {name: set(journal) for name, journal in journals.items()}
    shown: set[int] = set()
    beside = 0
    for dataset in world.setting.datasets:
        for group in world.components(dataset):
            rows = _check_convergence(world, dataset, group)
            shown |= {value for row in rows.values() for value in numbers(row)}
            if world.setting.scoped in group:
                shown |= set(scoping.own_values(world, world.rows(world.setting.scoped, dataset)))
            here = _check_journals(world, dataset, group, notes)
            _check_decisions(world, dataset, group, journals)
            _check_deletes(world, dataset, group, rows, here)
            _check_policies(world, rows, here)
            beside += copying.check_copies(world, rows)
    _check_losses(world, shown, _lost_for_good(journals))
    _check_identities(world, beside)
    for name in world.machines:
        _check_rest(world, name)


def _lost_for_good(journals: Mapping[str, Mapping[Note, str | None]]) -> set[object]:
    """Values that lost and were not brought back: if they lose again, that is another note."""
    return {
        note.value
        for journal in journals.values()
        for note, closed in journal.items()
        if closed != RESTORED
    }


def _check_convergence(world: World, dataset: str, group: list[str]) -> dict[Guid, Row]:
    """Promise 1: the same records at all sites; at the scoped one, of what passes."""
    found = {name: world.rows(name, dataset) for name in group}
    everything = found[_other(world, group)]
    for name, rows in found.items():
        if len(rows) != len(world.machines[name].rows(dataset)):
            raise BrokenPromise(f"unrecorded: {name} has rows of {dataset} without a record")
        for guid in sorted(rows.keys() | everything.keys()):
            here, there = rows.get(guid), everything.get(guid)
            right = here == there
            if name == world.setting.scoped:
                right = scoping.is_right(world, guid, here, there)
            if not right:
                raise BrokenPromise(
                    f"diverged: {guid.hex()} is {here} at {name}, {there} elsewhere"
                )
    return everything


def _other(world: World, group: list[str]) -> str:
    """A site of these that is not the scoped one, if there is one."""
    return min(group, key=lambda name: (name == world.setting.scoped, name))


def _check_journals(
    world: World, dataset: str, group: list[str], notes: dict[str, set[Note]]
) -> set[Note]:
    """Promise 2, second half: every site that shares the dataset has every loss in its journal."""
    of = {name: {note for note in notes[name] if note.record.dataset == dataset} for name in group}
    other = _other(world, group)
    for name in group:
        right = of[name] == of[other]
        if name == world.setting.scoped:
            right = scoping.are_journals_right(world, of[name], of[other])
        if not right:
            note = min(of[name] ^ of[other], key=repr)
            raise BrokenPromise(f"journals differ: {note} is not at both {name} and {other}")
    return of[other]


def _check_decisions(
    world: World, dataset: str, group: list[str], journals: dict[str, dict[Note, str | None]]
) -> None:
    """What is closed at one site is closed at all, in the same way; and what a person closed is."""
    whole = [name for name in group if name != world.setting.scoped]
    for name in whole:
        here, there = journals[name], journals[whole[0]]
        for note in here:
            if note.record.dataset == dataset and here[note] != there.get(note):
                raise BrokenPromise(
                    f"decided apart: {note} is {here[note]} at {name}, "
                    f"{there.get(note)} at {whole[0]}"
                )
    for note, name in world.accounts.decided.items():
        mine = note.record.dataset == dataset and name in whole
        if mine and journals[name].get(note) is None and not world.is_rough:
            raise BrokenPromise(f"reopened: {note}, which was decided at {name}")


def _check_losses(world: World, shown: set[int], noted: set[object]) -> None:
    """Promise 2: no value vanishes in silence. But where a field came to go to a site that wrote
    into it before, that may have overwritten a value by whose write it knew other fields.
    """
    accounts = world.accounts
    accounted = shown | accounts.overwritten | accounts.gone | accounts.lost | noted
    accounted |= accounts.of(world.revealed)
    for value in accounts.history:
        if value not in accounted:
            raise BrokenPromise(f"lost: value {value} vanished without a conflict")


def _check_deletes(
    world: World, dataset: str, group: list[str], rows: dict[Guid, Row], notes: set[Note]
) -> None:
    """Promise 3: deletes stay, or win; where an unseen edit overruled one, it is in the journal."""
    noted = {note.record.guid for note in notes}
    overruled = {note.record.guid for note in notes if note.field is None}
    deletes = [d for d in world.accounts.deletes if d.dataset == dataset and d.site in group]
    vain = scoping.vain_deletes(world)
    deletes = [delete for delete in deletes if delete not in vain]
    gone = {value for delete in deletes for value in delete.values}
    deleted: dict[Guid | None, set[int]] = {}
    for delete in deletes:
        deleted.setdefault(delete.guid, set()).update(delete.values)
    # what overruled it lost in turn, or does not go to all
    shown_in_part = {world.setting.scope.shown, world.scope.shown} != {None}
    partly = {
        note.record.guid
        for note in notes
        if shown_in_part and note.field is not None and note.value not in gone
    }
    certain = {one.guid for one in deletes if not one.values & world.accounts.undone}
    certain -= {note.record.guid for note in world.accounts.decided}
    for guid, row in rows.items():
        values = set(numbers(row))
        if not values or values & world.accounts.undone:
            continue
        decided = bool(world.setting.policy)
        forced = guid in overruled and (
            decided or world.has_expired or guid in partly or _lost_a_field(world, group, guid)
        )
        # the delete was of one of two rows that others had made one by then
        becomes_one = world.setting.natural or bool(world.setting.copies.telling)
        forced = forced or (becomes_one and guid in noted)
        # it saw what had lost, and not that somebody brought it back
        again = not values.isdisjoint(world.accounts.brought_back)
        forced = forced or (again and guid in overruled)
        if values <= gone and not values & world.accounts.ambiguous and not forced:
            raise BrokenPromise(f"resurrected: {guid.hex()} {row}")
        if guid in certain and not again and _deletes_win(world, dataset):
            raise BrokenPromise(f"undead: {guid.hex()} {row}, where deletes win")
        # nothing is kept for who is no peer; where all was written over, nothing is left to tell
        is_untold = world.has_returned and values.isdisjoint(deleted.get(guid, ()))
        if guid in deleted and guid not in noted and not is_untold:
            raise BrokenPromise(f"overruled in silence: the delete of {guid.hex()} {row}")


def _deletes_win(world: World, dataset: str) -> bool:
    """Policies are the same at all sites."""
    sites = (machine.site for machine in world.machines.values())
    policies = [site.policies[dataset] for site in sites if dataset in site.policies]
    return any(policy.deletes is Deletes.DELETE_WINS for policy in policies)


def _check_policies(world: World, rows: dict[Guid, Row], notes: set[Note]) -> None:
    """Where a site has the say its values stand. If the site hears of a loss when the winner was
    replaced already, what replaced it stands. So does what a restored site wrote itself, having
    forgotten the other.
    """
    accounts = world.accounts
    known = accounts.overwritten | accounts.replaced | accounts.gone | accounts.doubted
    known |= accounts.undone | accounts.ambiguous
    for machine in world.machines.values():
        policies = machine.site.policies
        for note in notes:
            policy, row = policies.get(note.record.dataset), rows.get(note.record.guid)
            if policy is None or row is None or note.field is None or note in accounts.decided:
                continue
            is_ours = note.dot.site == machine.site.keys.public.site_number
            has_say = is_ours and policy.of(note.field) is Way.OURS
            value, standing = note.value, row.get(note.field)
            if not has_say or not isinstance(value, int) or value == standing or value in known:
                continue
            if standing in accounts.by(machine.name) - (accounts.replaced - accounts.undone):
                continue
            if standing in accounts.brought_back:
                continue  # a person said what it shall be
            if not accounts.is_past(note.record.guid, value, standing):
                raise BrokenPromise(f"unheard: {note.value!r} of {machine.name}, which has the say")


def _lost_a_field(world: World, group: list[str], guid: Guid) -> bool:
    """Did somebody empty a field of the record? That is an edit that leaves no value behind. Not
    every site need have the record.
    """
    return guid in world.accounts.emptied or any(
        record.guid == guid and any(entry.value is ABSENT for entry in record.entries.values())
        for name in group
        for record in world.machines[name].records()
    )


def _check_identities(world: World, beside: int) -> None:
    """No row got two identities, save where a state store came back that did not know it."""
    guids = {
        record.id
        for machine in world.machines.values()
        for record in machine.records()
        if record.dataset != CONFLICTS
    }
    if len(guids) > world.accounts.created + beside:
        raise BrokenPromise(
            f"doubled: {len(guids)} records of {world.accounts.created} rows ever inserted"
        )


def _check_rest(world: World, name: str) -> None:
    """Promise 6: nothing is kept that nobody needs. And every row is one record's."""
    machine = world.machines[name]
    rows = [(each.dataset, each.key) for each in machine.records() if each.key is not None]
    if len(rows) != len(set(rows)):
        raise BrokenPromise(f"shared: {name} has two records of one row")
    for record in machine.records():
        what = f"{name} keeps {record.dataset} {record.guid.hex()}"
        if record.marker is not NO_MARKER:
            raise BrokenPromise(f"marker: {what} as being written")
        if not is_alive(record.entries):
            raise BrokenPromise(f"tombstone: {what}")
        ancestors = record.context.keys() - dots_of(record.entries)
        # what leaves a filter, a peer may show again
        if len(ancestors) > (ANCESTORS_MAX if world.setting.scoped else 0):
            raise BrokenPromise(f"ancestors: {what} with its ancestors")
    _check_links(name, machine)


def _check_links(name: str, machine: Machine) -> None:
    """Nothing is on its way, nothing waits or is kept for a peer that has it, and nothing is said
    to be missing.
    """
    with machine.store.peek() as transaction:
        if transaction.outbox.items():
            raise BrokenPromise(f"outbox: {name} still has mail to send")
        if transaction.inbox.waiting() or transaction.inbox.quarantined():
            raise BrokenPromise(f"inbox: {name} still has bundles to apply")
        for warned in transaction.warnings.all():
            if warned.name.startswith(("missing ", "silent ")):
                raise BrokenPromise(f"warned: {name} still says that {warned.text}")
        if kept := [part for peer in machine.peers for part in transaction.outbox.kept(peer)]:
            raise BrokenPromise(f"kept: {name} keeps {len(kept)} parts that were confirmed")
        links = machine.site.links(transaction)
        for match in (one for peer in links for one in transaction.matches.of(peer).values()):
            named = (one.guid for one in transaction.matches.alike(match))
            records = (transaction.records.get(RecordId(match.dataset, guid)) for guid in named)
            lacks = any(one and not has(links[match.peer], one) for one in records)
            if match.waiting or lacks:
                raise BrokenPromise(f"matching: {match.dataset} of {name} waits for {match.peer}")
        for peer, link in links.items():
            if link.stale or link.rejoin:
                raise BrokenPromise(f"unreconciled: {name} still waits for {peer}")


def check_parts(world: World) -> None:
    """Promise 6: of what never became whole nothing is left, in the end."""
    for name, peer in incomplete(world):
        raise BrokenPromise(f"parts: {name} keeps parts of what {peer} never sent whole")


def incomplete(world: World) -> Iterator[tuple[str, str]]:
    """Sites that keep parts of bundles, and their senders."""
    for name, machine in sorted(world.machines.items()):
        with machine.store.peek() as transaction:
            for peer in sorted(transaction.links()):
                if transaction.inbox.incomplete(peer, 0):
                    yield name, peer
