from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core.model import Etag, Fields, Guid, Key, Value
from mailsync.datasets import files
from mailsync.datasets.base import Change, Newcomer, Outcome, Result, Unreadable, Write
from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.csvfile.text import DELIMITERS, Row, Table
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.texts.contentline import Malformed
from mailsync.errors import BadConfiguration, DatasetBusy, DatasetError, DatasetMissing

GUID = Guid(bytes(16))
WRITTEN, CHANGED, REFUSED = Result.WRITTEN, Result.CHANGED, Result.REFUSED


class File:
    """A CSV file whose rows are told apart by ``no``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holding(self, text: bytes) -> CsvFile:
        self.path.write_bytes(text)
        return CsvFile(self.path, ["no"])

    @property
    def text(self) -> bytes:
        return self.path.read_bytes()


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "parts.csv")


def key(no: str) -> Key:
    return key_text([no])


def contents(dataset: CsvFile) -> dict[str, Fields | str | None]:
    """Each record by its key as JSON; the reason of what cannot be read."""
    return {
        one.key: one.reason if isinstance(one, Unreadable) else one.fields
        for one in dataset.changes({})
    }


def record(dataset: CsvFile, no: str) -> Fields:
    found = dataset.read([key(no)])[key(no)]
    assert isinstance(found, Change)
    assert found.fields is not None
    return found.fields


def put(dataset: CsvFile, no: str, **values: Value) -> Outcome:
    """Change some values of a record, or insert it."""
    found = dataset.read([key(no)])[key(no)]
    expected = found.fields if isinstance(found, Change) else None
    wanted = {**(expected or {"no": no}), **values}
    [outcome] = dataset.apply([Write(GUID, key(no), expected, wanted)])
    return outcome


def remove(dataset: CsvFile, no: str) -> Outcome:
    [outcome] = dataset.apply([Write(GUID, key(no), record(dataset, no), None)])
    return outcome


# --- what is kept ----------------------------------------------------------------------------

STYLES = [
    pytest.param(
        b"no,name,note\r\n1,a,x\r\n2,b,y\r\n",
        b'no,name,note\r\n1,a,"new, one"\r\n2,b,y\r\n3,c,\r\n',
        id="plain",
    ),
    pytest.param(
        b'"no";"name";"note"\n"1";"a";"x"\n"2";"b";"y"\n',
        b'"no";"name";"note"\n"1";"a";"new, one"\n"2";"b";"y"\n"3";"c";""\n',
        id="everything quoted, semicolons, LF",
    ),
    pytest.param(
        b'"no"\t"name"\t"note"\r\n1\t"a"\t"x"\r\n2\t"b"\t"y"\r\n',
        b'"no"\t"name"\t"note"\r\n1\t"a"\t"new, one"\r\n2\t"b"\t"y"\r\n3\t"c"\t""\r\n',
        id="texts quoted, tabs",
    ),
    pytest.param(
        b"\xef\xbb\xbfno|name|note\r1|a|x\r2|b|y\r",
        b"\xef\xbb\xbfno|name|note\r1|a|new, one\r2|b|y\r3|c|\r",
        id="byte order mark, bars, CR",
    ),
    pytest.param(
        b"no,name,note\n1,a,x\r\n2,b,y\n4,d,z\r\n",
        b'no,name,note\n1,a,"new, one"\r\n2,b,y\n4,d,z\r\n3,c,\r\n',
        id="two kinds of line ends",
    ),
]


@pytest.mark.parametrize(("before", "after"), STYLES)
def test_what_is_written_follows_the_style_and_all_else_stays(
    file: File, before: bytes, after: bytes
) -> None:
    dataset = file.holding(before)
    assert put(dataset, "1", note="new, one").result is WRITTEN
    assert put(dataset, "3", name="c").result is WRITTEN
    assert file.text == after
    assert put(dataset, "1", note="x").result is WRITTEN
    assert remove(dataset, "3").result is WRITTEN
    assert file.text == before


def test_empty_lines_stay_and_a_last_row_without_line_end_gets_one_when_another_follows(
    file: File,
) -> None:
    dataset = file.holding(b'no,name,note\n1, a ,"x"\n\n2,"b ""c""",y\n,,\n4,d,')
    assert put(dataset, "1", note="new, one").result is WRITTEN
    assert put(dataset, "4", name="e").result is WRITTEN
    assert put(dataset, "3", name="c").result is WRITTEN
    assert file.text == b'no,name,note\n1, a ,"new, one"\n\n2,"b ""c""",y\n,,\n4,e,\n3,c,\n'


def test_rows_that_end_early_have_empty_cells_and_grow_only_as_far_as_they_must(
    file: File,
) -> None:
    dataset = file.holding(b"no,name,note,more\n1,a\n2\n3,c,x,\n")
    assert record(dataset, "2") == {"no": "2", "name": "", "note": "", "more": ""}
    assert put(dataset, "1", name="b").result is WRITTEN
    assert put(dataset, "2", note="y").result is WRITTEN
    assert file.text == b"no,name,note,more\n1,b\n2,,y\n3,c,x,\n"


def test_new_rows_in_a_table_without_rows_are_quoted_as_its_header(file: File) -> None:
    dataset = file.holding(b'"no","name"')
    assert put(dataset, "1", name="a").result is WRITTEN
    assert file.text == b'"no","name"\r\n"1","a"\r\n'


FORMULAS = ['=HYPERLINK("http://x";"y")', "+1", "-1", "@SUM(A1)", "\t=1", "'=1"]


def test_what_looks_like_a_formula_is_a_text_like_any_other(file: File) -> None:
    dataset = file.holding(b"no,name\n=1+1,+2\n")
    assert contents(dataset) == {key("=1+1"): {"no": "=1+1", "name": "+2"}}
    for number, formula in enumerate(FORMULAS):
        assert put(dataset, f"{number}", name=formula).result is WRITTEN
    rows = list(csv.reader(io.StringIO(file.text.decode(), newline=""), strict=True))
    assert rows[2:] == [[f"{number}", formula] for number, formula in enumerate(FORMULAS)]
    assert record(dataset, "0")["name"] == FORMULAS[0]


hostile = st.text(st.sampled_from(list("ab,;\t|\"'\r\n =+-@\\\ufeff\u2028\U0001f6a2é\x1a")))


@settings(max_examples=60, deadline=None)
@given(
    delimiter=st.sampled_from(DELIMITERS),
    quotes=st.sampled_from(["", '"']),
    rows=st.lists(st.tuples(hostile, hostile), min_size=1, max_size=4),
    later=hostile,
)
def test_hostile_cells_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    delimiter: str,
    quotes: str,
    rows: list[tuple[str, str]],
    later: str,
) -> None:
    names = [f"{quotes}{name}{quotes}" for name in ("name", "no", "note")]
    file = File(tmp_path_factory.mktemp("csv") / "a.csv")
    dataset = file.holding(delimiter.join(names).encode())
    writes = [
        Write(GUID, key(f"{n}"), None, {"no": f"{n}", "name": name, "note": note})
        for n, (name, note) in enumerate(rows)
    ]
    outcomes = dataset.apply(writes)
    known: dict[Key, Etag | None] = {
        write.key: outcome.etag for write, outcome in zip(writes, outcomes, strict=True)
    }
    assert list(dataset.changes(known)) == []
    assert put(dataset, "0", note=later).result is WRITTEN
    expected = [["0", rows[0][0], later], *([f"{n}", *rows[n]] for n in range(1, len(rows)))]
    found = list(contents(dataset).values())
    assert found == [{"no": no, "name": name, "note": note} for no, name, note in expected]
    text = io.StringIO(file.text.decode(), newline="")
    _, *plain = csv.reader(text, delimiter=delimiter, strict=True)
    assert plain == [[name, no, note] for no, name, note in expected]


# --- what is found ---------------------------------------------------------------------------


def test_rows_with_a_known_etag_are_not_even_taken_apart(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = file.holding(b'no,name\n1,a\n2,"b\n""b"""\n3,c\n')
    known = {one.key: one.etag for one in dataset.changes({}) if isinstance(one, Change)}
    file.path.write_bytes(file.text.replace(b"3,c", b"3,d").replace(b"\n", b"\r\n", 2))
    taken: list[int] = []
    read = Table.read

    def noted(table: Table, number: int, text: bytes) -> Row:
        taken.append(number)
        return read(table, number, text)

    monkeypatch.setattr(Table, "read", noted)
    [change] = dataset.changes(known)
    assert isinstance(change, Change)
    assert change.fields == {"no": "3", "name": "d"}
    assert set(taken) == {4}


@pytest.mark.parametrize("text", [b"no,name\r1,a\r2,b\r", b'no,name\n1,"a\n"\n2,b'])
def test_known_rows_are_known_however_they_end(file: File, text: bytes) -> None:
    dataset = file.holding(text)
    known = {one.key: one.etag for one in dataset.changes({}) if isinstance(one, Change)}
    assert len(known) == 2
    assert list(dataset.changes(known)) == []


def test_another_header_is_noticed_though_no_row_changed(file: File) -> None:
    dataset = file.holding(b"no,name,note\n1,a,x\n")
    known = {one.key: one.etag for one in dataset.changes({}) if isinstance(one, Change)}
    file.path.write_bytes(b"no,note,name\n1,a,x\n")
    with pytest.raises(DatasetBusy):
        list(dataset.changes(known))
    dataset.look()
    [change] = dataset.changes(known)
    assert isinstance(change, Change)
    assert change.fields == {"no": "1", "name": "x", "note": "a"}


snippets = st.lists(st.sampled_from(['1,"', "1,a", "2,", "3", '"', '""', ",", "b", "\n", "\r"]))


@settings(max_examples=150, deadline=None)
@given(first=snippets, second=snippets)
def test_whatever_the_text_nothing_is_lost_and_known_rows_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str]
) -> None:
    file = File(tmp_path_factory.mktemp("csv") / "a.csv")
    known: dict[Key, Etag | None] = {}
    for snippet in (first, second):
        text = f"no,name\n{''.join(snippet)}\n".encode()
        dataset = file.holding(text)
        try:
            table = Table(text, ["no"])
            assert text == text[: table.start] + b"".join(
                row.text for row in table.strangers(set())
            )
            everything = {one.key: one for one in dataset.changes({})}
        except (Malformed, DatasetError):
            continue
        changes = {one.key: unnumbered(one) for one in dataset.changes(known)}
        assert changes == {
            one.key: unnumbered(one)
            for one in [
                *everything.values(),
                *dataset.read([one for one in known if one not in everything]).values(),
            ]
            if isinstance(one, Unreadable) or one.fields is None or known.get(one.key) != one.etag
        }
        known = {one.key: one.etag for one in everything.values() if isinstance(one, Change)}


def unnumbered(found: Change | Unreadable) -> Change | Unreadable:
    """Which of the rows that share a key is named depends on which of them is known."""
    if isinstance(found, Change):
        return found
    return found._replace(reason=re.sub(r"row \d+ has", "a row has", found.reason))


# --- what cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "named", "reason"),
    [
        (b'2,5" pipe\n', key("2"), "row 3 has a quotation mark within a cell"),
        (b'2,"a"b\n', key("2"), "row 3 has a quotation mark within a cell"),
        (b"2,caf\xe9\n", key("2"), "row 3 is not UTF-8"),
        (b"2,a\0b\n", key("2"), "row 3 holds a NUL"),
        (b'"2"2,a\n', "row 3", "row 3 has a quotation mark within a cell"),
        (b"caf\xe9,a\n", "row 3", "row 3 is not UTF-8"),
        (b"2,Smith, John\n", "row 3", "row 3 has 3 cells, the header 2"),
    ],
)
def test_a_row_that_cannot_be_read_is_held_and_no_other(
    file: File, row: bytes, named: str, reason: str
) -> None:
    dataset = file.holding(b"no,name\n1,a\n" + row + b"3,c\n")
    found = contents(dataset)
    assert found.pop(named) == reason
    assert found == {key("1"): {"no": "1", "name": "a"}, key("3"): {"no": "3", "name": "c"}}
    assert put(dataset, "1", name="b").result is WRITTEN
    assert file.text == b"no,name\n1,b\n" + row + b"3,c\n"


def test_a_row_that_ends_before_its_key_is_no_other_record(file: File) -> None:
    file.path.write_bytes(b"name,no\na,1\nb\n\n")
    found = contents(CsvFile(file.path, ["no"]))
    assert found == {key("1"): {"name": "a", "no": "1"}, "row 3": "row 3 ends before its key"}


def test_where_it_cannot_be_told_which_row_is_faulty_nothing_vanishes(file: File) -> None:
    dataset = file.holding(b"no,name\n1,a\n2,b\n3,c\n")
    known = {one.key: one.etag for one in dataset.changes({}) if isinstance(one, Change)}
    file.path.write_bytes(b"no,name\n1,a\n2")  # cut while it was copied
    found = {one.key: one for one in dataset.changes(known)}
    assert found.keys() == {"row 3", key("2"), key("3")}
    assert all(isinstance(one, Unreadable) for one in found.values())
    fields = {"no": "3", "name": "c"}
    [outcome] = dataset.apply([Write(GUID, key("3"), fields, {**fields, "name": "d"})])
    assert outcome.result is REFUSED
    assert "is the file whole?" in outcome.reason
    assert put(dataset, "4", name="e").result is REFUSED
    assert file.text == b"no,name\n1,a\n2"


def test_rows_that_share_a_key_are_held_all_of_them(file: File) -> None:
    dataset = file.holding(b"no,name\n1,a\n2,b\n")
    known = {one.key: one.etag for one in dataset.changes({}) if isinstance(one, Change)}
    for double in (b"1,a\n", b"1,z\n"):  # behind the known row, or before it
        for text in (b"no,name\n1,a\n2,b\n" + double, b"no,name\n" + double + b"1,a\n2,b\n"):
            file.path.write_bytes(text)
            [held] = dataset.changes(known)
            assert isinstance(held, Unreadable)
            assert held.key == key("1")
            assert "has the key of another row" in held.reason
            expected = {"no": "1", "name": "a"}
            for wanted in (None, {**expected, "name": "c"}):
                [outcome] = dataset.apply([Write(GUID, key("1"), expected, wanted)])
                assert outcome.result is REFUSED
            [outcome] = dataset.apply([Write(GUID, key("1"), None, expected)])
            assert outcome.result is REFUSED
            assert file.text == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "row 1 must name every column; it has: nothing"),
        (b"no,,name\n", "row 1 must name every column; it has: no, , name"),
        (b"name,note\n1,a\n", "there is no column no; there are: name, note"),
        (b"no,name,name\n", "the header names the column name twice"),
        (b"no,caf\xe9\n", "the header is not UTF-8; save the file as CSV in UTF-8"),
        ("no,name\n1,a\n".encode("utf-16"), "the header is not UTF-8"),
        ("no,name\n1,a\n".encode("utf-16-le"), "the header is not UTF-8"),
        (b'no,name\n1,a\n2,"b\n3,c\n', "row 3: a quotation mark is never closed"),
        (b'no,"name\n1,a\n', "row 1: a quotation mark is never closed"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    file: File, text: bytes, told: str
) -> None:
    dataset = file.holding(b"no,name\n")
    file.path.write_bytes(text)
    for use in (
        lambda: list(dataset.changes({key("1"): None})),
        lambda: dataset.read([key("1")]),
        lambda: dataset.apply([Write(GUID, key("1"), None, {"no": "1"})]),
    ):
        with pytest.raises(DatasetError) as caught:
            use()
        assert str(caught.value).startswith(f"{file.path}: {told}")
    assert file.text == text


def test_a_file_that_is_missing_is_missing_not_empty(file: File) -> None:
    dataset = file.holding(b"no\n1\n")
    file.path.unlink()
    with pytest.raises(DatasetMissing):
        list(dataset.changes({key("1"): None}))
    with pytest.raises(DatasetMissing):
        CsvFile(file.path, ["no"])
    with pytest.raises(BadConfiguration, match="key = "):
        CsvFile(file.path, [])


# --- what is written -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "held"),
    [(7, "7"), (-(2**63), "-9223372036854775808"), (1.5, "1.5"), (1e22, "1" + "0" * 22),
     (True, "1"), (False, "0"), (None, ""), ("x", "x")],
)  # fmt: skip
def test_numbers_truth_and_null_are_held_as_texts(file: File, value: Value, held: str) -> None:
    dataset = file.holding(b"no,name\n")
    assert dataset.spelled({"name": value, "no": held}) == {"name": held, "no": held}
    assert put(dataset, "1", name=value).result is WRITTEN
    assert record(dataset, "1")["name"] == held


def test_keys_are_proposed_as_they_will_be_held(file: File) -> None:
    dataset = file.holding(b"no,name\n7,a\n")
    records = [Newcomer(GUID, {"no": 7, "name": "b"}), Newcomer(GUID, {"no": "7"})]
    assert dataset.propose_keys(records, [key("7")]) == [key("7")] * 2


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"name": b"x"}, "column name"),
        ({"name": float("inf")}, "column name"),
        ({"name": "a\0"}, "column name"),
        ({"name": "\ud800"}, "column name"),
        ({"other": "x"}, "no column other"),
        ({"no": "2"}, "another key"),
    ],
)
def test_what_a_row_cannot_hold_is_refused_and_named(file: File, wanted: Fields, told: str) -> None:
    dataset = file.holding(b"no,name\n1,a\n")
    fields = {"no": "1", "name": "a"}
    [outcome] = dataset.apply([Write(GUID, key("1"), fields, {**fields, **wanted})])
    assert outcome.result is REFUSED
    assert told in outcome.reason
    assert file.text == b"no,name\n1,a\n"


def test_a_row_without_any_value_is_no_record(file: File) -> None:
    dataset = file.holding(b"no,name\n,\n")
    assert contents(dataset) == {}
    assert put(dataset, "", name="").result is REFUSED
    assert put(dataset, "", name="x").result is WRITTEN
    assert contents(dataset) == {key(""): {"no": "", "name": "x"}}


def test_columns_that_nobody_names_stay_as_they_are(file: File) -> None:
    dataset = file.holding(b"no,name,note\n1,a,mine\n2,b,\n")
    writes = [
        Write(GUID, key("1"), {"no": "1", "name": "a"}, {"no": "1", "name": "c"}),
        Write(GUID, key("2"), {"no": "2", "name": "b"}, {"no": "2", "name": "b", "note": "new"}),
    ]
    assert [one.result for one in dataset.apply(writes)] == [WRITTEN, WRITTEN]
    late = Write(GUID, key("1"), {"no": "1", "name": "c"}, {"no": "1", "name": "c", "note": "new"})
    assert [one.result for one in dataset.apply([late])] == [CHANGED]
    full = {"no": "2", "name": "b", "note": "new"}
    gone = Write(GUID, key("2"), full, {"no": "2", "name": "b"})
    assert [one.result for one in dataset.apply([gone])] == [WRITTEN]
    assert file.text == b"no,name,note\n1,c,mine\n2,b,\n"


def test_another_program_that_is_quicker_loses_nothing(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = file.holding(b"no,name\n1,a\n2,b\n")
    checked = files.demand
    theirs = [b"no,name\n1,a\n2,theirs\n3,new\n"]

    def late(path: Path, content: bytes | None) -> None:
        if theirs:
            file.path.write_bytes(theirs.pop())
        checked(path, content)

    monkeypatch.setattr(files, "demand", late)
    fields: list[Fields] = [{"no": "1", "name": "a"}, {"no": "2", "name": "b"}]
    writes = [Write(GUID, key(str(one["no"])), one, {**one, "name": "x"}) for one in fields]
    assert [one.result for one in dataset.apply(writes)] == [WRITTEN, CHANGED]
    assert file.text == b"no,name\n1,x\n2,theirs\n3,new\n"


def test_a_file_that_never_rests_is_busy(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = file.holding(b"no,name\n")
    checked = files.demand

    def late(path: Path, content: bytes | None) -> None:
        file.path.write_bytes(file.text + b"\n")
        checked(path, content)

    monkeypatch.setattr(files, "demand", late)
    with pytest.raises(DatasetBusy):
        put(dataset, "1", name="a")


def test_one_batch_after_another_sees_what_users_did_in_between(file: File) -> None:
    dataset = file.holding(b"no,name\n1,a\n2,b\n")
    assert put(dataset, "3", name="c").result is WRITTEN
    assert remove(dataset, "1").result is WRITTEN
    assert put(dataset, "1", name="again").result is WRITTEN
    file.path.write_bytes(file.text.replace(b"2,b", b"2,theirs"))
    fields = {"no": "2", "name": "b"}
    [outcome] = dataset.apply([Write(GUID, key("2"), fields, None)])
    assert outcome.result is CHANGED
    assert file.text == b"no,name\n2,theirs\n3,c\n1,again\n"


def test_a_batch_that_breaks_off_leaves_nothing_for_the_next_one(file: File) -> None:
    dataset = file.holding(b"no,name\n1,a\n2,b\n")
    fields = {"no": "1", "name": "a"}
    good = Write(GUID, key("1"), fields, {**fields, "name": "x"})
    assert dataset.apply([good._replace(expected=None)])[0].result is CHANGED
    with pytest.raises(AttributeError):
        dataset.apply([good, good._replace(expected=0)])  # type: ignore[arg-type]
    assert file.text == b"no,name\n1,a\n2,b\n"
    assert dataset.apply([good])[0].result is WRITTEN
    assert file.text == b"no,name\n1,x\n2,b\n"


def test_mode_and_links_stay(file: File, tmp_path: Path) -> None:
    file.holding(b"no,name\n")
    file.path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file.path)
    assert put(CsvFile(link, ["no"]), "1", name="a").result is WRITTEN
    assert link.is_symlink()
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert {one.name for one in tmp_path.iterdir()} == {"link", "parts.csv"}
