from __future__ import annotations

import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailsync.core.model import Etag, Fields, Guid, Key
from mailsync.datasets import files
from mailsync.datasets.base import Change, Dataset, Newcomer, Outcome, Result, Unreadable, Write
from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.files import Overtaken, read_regular, replace
from mailsync.datasets.kinds import open_dataset
from mailsync.datasets.sql.table import SqlTable
from mailsync.datasets.texts.vcard import VcardFile, VcardFolder
from mailsync.errors import DatasetBusy, DatasetMissing, DatasetReadOnly, DiskFull
from tests.datasets.unprivileged import as_nobody, open_to_all

GUID = Guid(bytes(16))
FIELDS: Fields = {"version": "VERSION:4.0", "uid": "UID:u1", "fn": "FN:Ann"}
TEXT = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:u1\r\nFN:Ann\r\nEND:VCARD\r\n"
NEW: Fields = {**FIELDS, "uid": "UID:u2"}
BIG: Fields = {**NEW, "note": "NOTE:" + "x" * 100_000}


class Clock:
    """Tells the time it was set to, in seconds since 1970."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.vcf"
    path.write_bytes(TEXT.encode())
    os.utime(path, (1000, 1000))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    seen: list[str] = []

    def noted(path: Path) -> tuple[bytes, os.stat_result] | None:
        seen.append(path.name)
        return read_regular(path)

    monkeypatch.setattr("mailsync.datasets.texts.folder.read_regular", noted)
    return seen


def look(dataset: Dataset, known: dict[Key, Etag | None]) -> list[Change]:
    found = [one for one in dataset.changes(known) if isinstance(one, Change)]
    known.update({one.key: one.etag for one in found})
    return found


def test_a_file_whose_status_is_the_same_is_not_read(file: Path, reads: list[str]) -> None:
    known: dict[Key, Etag | None] = {}
    dataset = VcardFolder(file.parent, Clock(2000))
    assert len(look(dataset, known)) == 1
    reads.clear()
    assert look(dataset, known) == []
    assert reads == []


def test_a_young_file_is_read_again_until_its_time_can_be_trusted(
    file: Path, reads: list[str]
) -> None:
    clock = Clock(1001.9)
    known: dict[Key, Etag | None] = {}
    dataset = VcardFolder(file.parent, clock)
    look(dataset, known)
    file.write_bytes(TEXT.replace("Ann", "Bob").encode())
    os.utime(file, (1000, 1000))  # changed within the resolution of the clock
    [change] = look(dataset, known)
    assert change.fields == {**FIELDS, "fn": "FN:Bob"}
    assert look(dataset, known) == []
    clock.now = 1003
    [renewed] = look(dataset, known)
    assert renewed.fields == {**FIELDS, "fn": "FN:Bob"}
    reads.clear()
    assert look(dataset, known) == []
    assert reads == []


def test_a_touched_file_gets_a_new_etag_and_is_read_no_more(file: Path, reads: list[str]) -> None:
    known: dict[Key, Etag | None] = {}
    dataset = VcardFolder(file.parent, Clock(9000))
    look(dataset, known)
    os.utime(file, (2000, 2000))
    [renewed] = look(dataset, known)
    assert renewed.fields == FIELDS
    reads.clear()
    assert look(dataset, known) == []
    assert reads == []


def test_mode_is_kept_and_nothing_else_left(file: Path) -> None:
    file.chmod(0o640)
    dataset = VcardFolder(file.parent)
    [outcome] = dataset.apply([Write(GUID, Key("a.vcf"), FIELDS, NEW)])
    assert outcome.result is Result.WRITTEN
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in file.parent.iterdir()] == ["a.vcf"]


def test_a_file_changed_at_the_last_moment_is_not_replaced(file: Path) -> None:
    with pytest.raises(Overtaken):
        replace(file, b"what it was", b"new")
    with pytest.raises(Overtaken):
        replace(file, None, b"new")
    with pytest.raises(Overtaken):
        replace(file.with_name("b.vcf"), b"what it was", b"new")
    assert file.read_bytes() == TEXT.encode()
    assert [one.name for one in file.parent.iterdir()] == ["a.vcf"]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Lets a user act right before each replacement is checked."""

    def arm(act: Callable[[], None]) -> None:
        checked = files.demand

        def late(path: Path, content: bytes | None) -> None:
            act()
            checked(path, content)

        monkeypatch.setattr(files, "demand", late)

    return arm


def test_a_user_who_is_quicker_by_a_hair_wins(
    file: Path, interrupted: Callable[[Callable[[], None]], None]
) -> None:
    theirs = TEXT.replace("Ann", "Eve").encode()

    def overwrite() -> None:
        file.write_bytes(theirs)

    interrupted(overwrite)
    [outcome] = VcardFolder(file.parent).apply([Write(GUID, Key("a.vcf"), FIELDS, NEW)])
    assert outcome.result is Result.CHANGED
    file.write_bytes(TEXT.encode())
    [outcome] = VcardFile(file).apply([Write(GUID, Key("u1"), FIELDS, {**FIELDS, "fn": "FN:x"})])
    assert outcome.result is Result.CHANGED
    assert file.read_bytes() == theirs


def test_a_file_that_never_rests_is_busy(
    file: Path, interrupted: Callable[[Callable[[], None]], None]
) -> None:
    def append() -> None:
        file.write_bytes(file.read_bytes() + b"\r\n")

    interrupted(append)
    with pytest.raises(DatasetBusy):
        VcardFile(file).apply([Write(GUID, Key("u2"), None, NEW)])


def add_card_to_folder(file: Path) -> Outcome:
    return VcardFolder(file.parent).apply([Write(GUID, Key("b.vcf"), None, NEW)])[0]


def add_card_to_file(file: Path) -> Outcome:
    return VcardFile(file).apply([Write(GUID, Key("u2"), None, NEW)])[0]


def add_row_to_csv(file: Path) -> Outcome:
    path = file.with_name("stock.csv")
    path.write_text("part,quantity\n")
    fields: Fields = {"part": "P-1", "quantity": "1"}
    table = CsvFile(path, ["part"])
    [key] = table.propose_keys([Newcomer(GUID, fields)], ())
    return table.apply([Write(GUID, key, None, fields)])[0]


@pytest.mark.parametrize("write", [add_card_to_folder, add_card_to_file, add_row_to_csv])
def test_old_temporary_files_are_swept(file: Path, write: Callable[[Path], Outcome]) -> None:
    old, young = (file.with_name(f".mailsync-{name}") for name in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (1000, 1000))
    assert write(file).result is Result.WRITTEN
    assert young.exists()
    assert not old.exists()


@pytest.mark.parametrize("kind", [VcardFolder, VcardFile])
def test_what_is_missing_is_missing(kind: type[Dataset], tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing):
        kind(tmp_path / "no.vcf")  # type: ignore[call-arg]


def test_what_goes_missing_later_is_missing_not_empty(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    folder.mkdir()
    (tmp_path / "b.vcf").touch()
    datasets: list[Dataset] = [VcardFolder(folder), VcardFile(tmp_path / "b.vcf")]
    folder.rmdir()
    (tmp_path / "b.vcf").unlink()
    for dataset in datasets:
        with pytest.raises(DatasetMissing):
            list(dataset.changes({Key("x.vcf"): None}))
        with pytest.raises(DatasetMissing):
            dataset.read([Key("x.vcf")])
        with pytest.raises(DatasetMissing):
            dataset.apply([Write(GUID, Key("x.vcf"), None, NEW)])


def test_a_folder_that_goes_while_it_is_looked_at_is_missing_not_emptied(file: Path) -> None:
    (file.parent / "cards").mkdir()
    folder = file.parent / "cards"
    for name in ("a.vcf", "b.vcf", "c.vcf"):
        (folder / name).write_bytes(TEXT.encode())
    found = VcardFolder(folder).changes({Key("a.vcf"): None, Key("gone.vcf"): None})
    assert isinstance(next(found), Change)
    folder.rename(file.parent / "elsewhere")
    with pytest.raises(DatasetMissing):
        list(found)


def test_a_file_that_goes_while_the_folder_is_looked_at_is_gone(file: Path) -> None:
    for name in ("b.vcf", "c.vcf"):
        (file.parent / name).write_bytes(TEXT.encode())
    known: dict[Key, Etag | None] = dict.fromkeys(map(Key, ("a.vcf", "b.vcf", "c.vcf")))
    found = VcardFolder(file.parent).changes(known)
    first = next(found)
    assert isinstance(first, Change)
    for other in known.keys() - {first.key}:
        (file.parent / other).unlink()
    assert {one.key: one.fields for one in found if isinstance(one, Change)} == dict.fromkeys(
        known.keys() - {first.key}
    )


def test_a_file_that_nobody_lets_us_read_is_held_and_the_others_go_on(file: Path) -> None:
    open_to_all(file.parent)
    file.parent.chmod(0o777)
    file.chmod(0)

    def work() -> None:
        dataset = VcardFolder(file.parent)
        [held] = dataset.changes({})
        assert isinstance(held, Unreadable)
        refused, written = dataset.apply(
            [Write(GUID, Key("a.vcf"), FIELDS, NEW), Write(GUID, Key("b.vcf"), None, NEW)]
        )
        assert "Permission denied" in refused.reason
        assert written.result is Result.WRITTEN

    as_nobody(work)


@pytest.mark.parametrize(
    "source", ["vcard:in/c", "vcard:in/a.vcf", "ical:in/a.ics", "csv:in/a.csv"]
)
def test_what_nobody_lets_us_look_for_is_said_so(tmp_path: Path, source: str) -> None:
    (tmp_path / "in" / "c").mkdir(parents=True)
    open_to_all(tmp_path)
    (tmp_path / "in").chmod(0)

    def work() -> None:
        key = ["no"] if source.startswith("csv") else None
        with pytest.raises(DatasetReadOnly, match="Permission denied"):
            open_dataset(source, table=None, keys=None, key=key, base=tmp_path)

    as_nobody(work)
    (tmp_path / "in").chmod(0o755)


def test_a_database_that_nobody_lets_us_look_for_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    url = f"sqlite:///{tmp_path}/in/a.db"
    with closing(sqlite3.connect(tmp_path / "in" / "a.db")) as database:
        database.execute("CREATE TABLE t (k INTEGER PRIMARY KEY)")
    SqlTable(url, "t").close()  # loads the driver, which nobody may not be allowed to read
    open_to_all(tmp_path)
    (tmp_path / "in").chmod(0)

    def work() -> None:
        with pytest.raises(DatasetReadOnly, match="Permission denied"):
            SqlTable(url, "t")

    as_nobody(work)
    (tmp_path / "in").chmod(0o755)


@pytest.fixture(params=["folder", "file"])
def attempt(request: pytest.FixtureRequest, file: Path) -> Callable[[Fields], list[Outcome]]:
    def insert(fields: Fields) -> list[Outcome]:
        if request.param == "folder":
            return VcardFolder(file.parent).apply([Write(GUID, Key("new.vcf"), None, fields)])
        return VcardFile(file).apply([Write(GUID, Key("u2"), None, fields)])

    return insert


def test_without_write_permission_it_is_read_only(
    file: Path, attempt: Callable[[Fields], list[Outcome]]
) -> None:
    open_to_all(file.parent)
    file.parent.chmod(0o555)

    def work() -> None:
        with pytest.raises(DatasetReadOnly):
            attempt(NEW)

    as_nobody(work)
    file.parent.chmod(0o755)


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """The system refuses to write beyond 10,000 bytes, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_everything_as_it_was(
    file: Path, attempt: Callable[[Fields], list[Outcome]], small_files_only: None
) -> None:
    with pytest.raises(DiskFull):
        attempt(BIG)
    assert [one.name for one in file.parent.iterdir()] == ["a.vcf"]
    assert file.read_bytes() == TEXT.encode()
    assert attempt(NEW)[0].result is Result.WRITTEN


def test_a_file_reached_by_a_link_is_replaced_behind_it(file: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    link = inner / "link.vcf"
    link.symlink_to(file)
    [outcome] = VcardFile(link).apply([Write(GUID, Key("u2"), None, NEW)])
    assert outcome.result is Result.WRITTEN
    assert link.is_symlink()
    assert b"UID:u2" in file.read_bytes()
