"""The state store: private, locked, migrated, undone whole."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.enrolment import Enrolled, Enrolment
from mailsync.core.model import (
    ABSENT,
    NO_MARKER,
    Dot,
    Entry,
    Etag,
    Guid,
    Key,
    Record,
    RecordId,
    Sighting,
    Stream,
)
from mailsync.core.positions import Positions
from mailsync.errors import BadKeys, Locked, NotInitialised
from mailsync.store.codec import link_of, link_state
from mailsync.store.migration import STEPS, NewerState
from mailsync.store.peers import Peers
from mailsync.store.record_rows import (
    Naming,
    RecordRow,
    enrolled_rows,
    record_of,
    record_row,
)
from mailsync.store.state import DamagedStore, StateStore, StoreOutOfReach
from tests.core.strategies import glimpses_of, values
from tests.datasets.unprivileged import as_nobody, give_away, open_to_all


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    made = StateStore.create(tmp_path / "state.db")
    with made.transaction() as transaction:
        transaction.found_site(2**64 - 1)
    return made


def record(number: int, position: int, key: str | None = None) -> Record:
    dot = Dot(position, 1, number)
    return Record(
        "people",
        Guid(number.to_bytes(16, "big")),
        {"name": Entry(dot, f"n{number}")},
        {dot: Sighting(position)},
        position,
        key=None if key is None else Key(key),
        shadow=None if key is None else {"name": f"n{number}"},
    )


def save(store: StateStore, *records: Record, now: int = 1) -> None:
    with store.transaction() as transaction:
        ledger = transaction.ledger()
        for item in records:
            ledger.keep(item)
        transaction.save(ledger, now)


def test_the_file_is_its_owners_alone(store: StateStore) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_store_others_can_read_is_refused(store: StateStore) -> None:
    store.path.chmod(0o640)
    with pytest.raises(BadKeys, match="chmod 600"):
        StateStore.open(store.path)


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotInitialised, match="no state store"):
        StateStore.open(tmp_path / "state.db")


def test_a_store_of_a_newer_version_is_refused(store: StateStore) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("update version set number = ?", (len(STEPS) + 1,))
    with pytest.raises(NewerState, match=f"version {len(STEPS) + 1}"):
        StateStore.open(store.path)


FIRST_VERSION = """
drop table held;
create table held (dataset text not null, name text not null, reason text not null,
    since bigint not null, primary key (dataset, name));
insert into held values ('people', '1', 'too many', 5);
drop table conflict;
create table conflict (guid blob not null, winner blob not null, noted_at bigint not null,
    primary key (guid));
insert into conflict values (x'01', x'f6', 5);
update version set number = 1;
"""


def test_a_store_of_the_first_version_is_brought_to_the_newest(store: StateStore) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.executescript(FIRST_VERSION)
    with StateStore.open(store.path).transaction() as transaction:
        assert not transaction.history.held()  # the next cycle tells
        assert not transaction.journal.counts()  # there is no such note
        transaction.history.withhold("bob", {"people": {"1": "too large"}}, 7)
        assert [item.peer for item in transaction.history.held()] == ["bob"]


def test_a_store_that_is_none_any_more_says_what_to_do(store: StateStore) -> None:
    store.path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(DamagedStore, match="damaged: file is not a database") as told:
        StateStore.open(store.path)
    assert "backup" in told.value.advice


def test_a_store_this_user_may_not_write_says_so(tmp_path: Path) -> None:
    for name, modes in {"a": (0o500, 0o400), "b": (0o700, 0)}.items():
        folder = tmp_path / name
        folder.mkdir()
        StateStore.create(folder / "state.db").close()
        folder.chmod(modes[0])
        (folder / "state.db").chmod(modes[1])
        for path in (folder, folder / "state.db"):
            give_away(path)
    open_to_all(tmp_path)

    def work() -> None:
        for name in ("a", "b"):
            with pytest.raises(StoreOutOfReach, match="cannot use the state store"):
                StateStore.open(tmp_path / name / "state.db")

    as_nobody(work)


def test_a_lock_that_is_another_user_s_is_named(tmp_path: Path) -> None:
    StateStore.create(tmp_path / "state.db").close()
    (tmp_path / "state.db.lock").touch(0)
    give_away(tmp_path / "state.db")
    open_to_all(tmp_path)
    tmp_path.chmod(0o777)

    def work() -> None:
        with (
            pytest.raises(StoreOutOfReach, match=r"state\.db\.lock: Permission denied"),
            StateStore.open(tmp_path / "state.db").lock(),
        ):
            pass

    as_nobody(work)


def test_a_second_process_is_kept_out(store: StateStore) -> None:
    script = (
        "import sys; from pathlib import Path; from mailsync.store.state import StateStore\n"
        "with StateStore.open(Path(sys.argv[1])).lock():\n print('locked', flush=True)\n"
        " sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(Locked), store.lock():
            pass
        other.communicate()
    with store.lock():
        pass


def test_a_transaction_that_fails_is_undone_whole(store: StateStore) -> None:
    class Crash(Exception):
        pass

    def work() -> None:
        with store.transaction() as transaction:
            ledger = transaction.ledger()
            ledger.bump(record(1, 1))
            transaction.save(ledger, 1)
            raise Crash

    with pytest.raises(Crash):
        work()
    with store.transaction() as transaction:
        assert transaction.site().position == 0
        assert len(transaction.records) == 0


def test_under_the_lock_too_it_is_undone_and_the_next_one_holds(store: StateStore) -> None:
    with store.lock():
        test_a_transaction_that_fails_is_undone_whole(store)
        save(store, record(1, 1))
    with store.transaction() as transaction:
        assert len(transaction.records) == 1


def test_who_is_kept_out_takes_nothing_from_who_is_in(store: StateStore) -> None:
    with store.lock():
        kept = store._kept
        with pytest.raises(Locked), store.lock():
            pass
        assert store._kept is kept


def test_another_thread_works_while_one_holds_the_lock(store: StateStore) -> None:
    def position() -> int:
        with store.transaction() as transaction:
            return transaction.site().position

    with store.lock(), ThreadPoolExecutor(1) as threads:
        assert position() == 0
        assert threads.submit(position).result() == 0
        assert position() == 0


def test_after_the_lock_the_store_is_one_file(store: StateStore) -> None:
    with store.lock():
        save(store, record(1, 1))
        assert store.path.with_name("state.db-wal").exists()
    assert not store.path.with_name("state.db-wal").exists()


def test_a_rehearsal_leaves_no_trace(store: StateStore) -> None:
    with store.rehearsal() as rehearsal, rehearsal.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.bump(record(1, 1))
        transaction.save(ledger, 1)
        assert len(transaction.records) == 1
    with store.transaction() as transaction:
        assert len(transaction.records) == 0


def test_keys_can_change_hands_in_one_save(store: StateStore) -> None:
    save(store, record(1, 1, "a"), record(2, 2, "b"))
    save(store, record(1, 1, "b"), record(2, 2, "a"))
    with store.transaction() as transaction:
        held = transaction.records.by_key("people", [Key("a"), Key("b")])
    assert {key: item.guid[-1] for key, item in held.items()} == {"a": 2, "b": 1}


def test_records_are_found_by_keys_of_all_kinds(store: StateStore) -> None:
    keys = ["[0]", "[7]", "[-7]", "[7,1]", "[7,2]", '["7"]', "7", "", f"[{10**17}]", f"[{10**18}]"]
    save(store, *(record(number, number, key) for number, key in enumerate(keys, 1)))
    with store.transaction() as transaction:
        for key in keys:
            assert list(transaction.records.by_key("people", [Key(key), Key("[8]")])) == [key]
        found = transaction.records.by_key("people", [*map(Key, keys), Key("[8]")])
        assert transaction.records.by_key("nobody", [Key("[7]")]) == {}
    assert {key: item.guid[-1] for key, item in found.items()} == {
        key: number for number, key in enumerate(keys, 1)
    }


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_records_are_found_by_positions_however_many_are_read_at_once(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("mailsync.store.records.AHEAD", page)
    save(store, *(record(number, number) for number in range(1, 10)))
    confirmed = Positions.of([1, 2, 5, 6])
    with store.transaction() as transaction:
        outside = [item.position for item in transaction.records.outside(confirmed)]
        inside = [item.position for item in transaction.records.at(confirmed | Positions.of([99]))]
    assert outside == [3, 4, 7, 8, 9]
    assert inside == [1, 2, 5, 6]


def test_a_record_that_only_settles_does_not_grow_younger(store: StateStore) -> None:
    dead = record(1, 1)
    dead = Record(
        dead.dataset,
        dead.guid,
        {"name": dead.entries["name"]._replace(killed=True)},
        dead.context,
        1,
    )
    save(store, dead, now=10)
    save(store, dead, now=1000)
    with store.transaction() as transaction:
        assert [
            item.position for item in transaction.records.gone(before=10, after=0, limit=9)
        ] == [1]


def test_a_site_number_above_63_bits_comes_back(store: StateStore) -> None:
    with store.transaction() as transaction:
        assert transaction.site().number == 2**64 - 1


names = st.sampled_from(["a", "b", "c"])
peers = st.frozensets(st.sampled_from(["hub", "ship"]))
later = st.dictionaries(st.sampled_from(["hub", "ship"]), st.integers(1, 99)).map(
    lambda places: frozenset(places.items())
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    dots = draw(
        st.lists(
            st.builds(Dot, st.integers(1, 9), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    entry = st.builds(Entry, st.sampled_from(dots), values, st.booleans())
    fields = st.none() | st.dictionaries(names, st.integers())
    return Record(
        "people",
        Guid(bytes(16)),
        draw(st.dictionaries(names, entry, min_size=1)),
        {dot: Sighting(draw(st.integers(0, 99)), draw(peers), draw(later)) for dot in dots},
        draw(st.integers(1, 99)),
        draw(peers),
        draw(peers),
        draw(peers),
        draw(st.booleans()),
        draw(peers),
        draw(st.dictionaries(st.sampled_from(["hub", "ship"]), st.integers(0, 99))),
        draw(st.booleans()),
        draw(glimpses_of(st.sampled_from(dots), names)),
        draw(st.none() | st.just(Key("k"))),
        None,
        draw(fields),
        draw(fields | st.just(NO_MARKER)),
    )


@given(records())
def test_a_record_comes_back_as_it_was(item: Record) -> None:
    bits = Peers({"hub": 1, "ship": 2})
    back = record_of(record_row(item, bits, 1, 5), bits, "people")
    assert back == item


def test_a_link_comes_back_as_it_was(store: StateStore) -> None:
    with store.transaction() as transaction:
        transaction.add_link("hub", Stream(1, 2**64 - 1))
        link = transaction.links()["hub"]
    assert link == link_of("hub", link_state(link))
    assert RecordId("people", Guid(bytes(16))) not in link.lacking


present = values.filter(lambda value: value is not ABSENT)
rows = st.builds(
    Enrolled,
    st.integers(0, 2**30).map(lambda number: Guid(number.to_bytes(16, "big"))),
    st.sampled_from(["[7]", "[-7,1]", "a"]).map(Key),
    st.permutations(["name", "town", "note"]).flatmap(
        lambda names: st.fixed_dictionaries(
            {names[0]: present}, optional=dict.fromkeys(names[1:], present)
        )
    ),
    st.none() | st.binary(max_size=4).map(Etag),
)


@given(
    st.lists(rows, max_size=6, unique_by=lambda row: row.guid),
    st.none() | st.permutations(["name", "town", "note"]) | st.just(["name"]),
)
def test_rows_are_entered_as_their_records_would_be(
    found: list[Enrolled], names: list[str] | None
) -> None:
    enrolment = Enrolment("people", Dot(9, 2**63, 7), 40, found)
    bits, naming = Peers({}), None if names is None else Naming(3, tuple(names))
    entered: dict[int, RecordRow] = {}
    for alike in enrolment.alike():
        like = record_row(enrolment.record(alike[0]), bits, 1, 5, holds={"name"}, naming=naming)
        entered |= dict(zip(alike, enrolled_rows(enrolment, alike, like, naming), strict=True))
    assert [entered[place] for place in range(len(found))] == [
        record_row(one, bits, 1, 5, holds={"name"}, naming=naming) for one in enrolment
    ]


def test_who_asks_for_a_row_just_enrolled_gets_its_record(store: StateStore) -> None:
    row = Enrolled(Guid(b"1" * 16), Key("[1]"), {"name": "x"}, None)
    with store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.enrol("people", Dot(1, 1, 1), [row, row._replace(guid=Guid(b"2" * 16))])
        second = ledger.get(RecordId("people", Guid(b"2" * 16)))
        assert second is not None
        assert second.position == 2
        assert ledger.get(RecordId("others", row.guid)) is None
        assert [one.position for one in ledger.all()] == [1, 2]
        ledger.bump(second)
        assert [one.position for one in ledger.all()] == [1, 3]
        transaction.save(ledger, 5)
    with store.transaction() as transaction:
        assert [(one.guid, one.position) for one in transaction.records.all()] == [
            (b"1" * 16, 1),
            (b"2" * 16, 3),
        ]
