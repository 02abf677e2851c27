from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core.model import Fields, Guid, Key, same_fields
from mailsync.datasets.base import Change, Newcomer, Outcome, Result, Unreadable, Write
from mailsync.datasets.texts.contentline import fold
from mailsync.datasets.texts.formats import Unfit, fitting
from mailsync.datasets.texts.vcard import CardFormat, VcardFile, VcardFolder

GUID = Guid(bytes(range(16)))
WRITTEN, CHANGED, REFUSED = Result.WRITTEN, Result.CHANGED, Result.REFUSED

ANN = """\
BEGIN:VCARD
VERSION:3.0
PRODID:-//Some//Thing//EN
N:Berg;Ann;;;
fn:Ann
  Berg
TEL;type=CELL;type=VOICE:+47 1
item1.TEL;TYPE=work:+47 2
item1.X-ABLabel:Bridge
TEL;TYPE="voice,cell":+47 3
X-Odd;x="a:b":c\\,d
END:VCARD
""".replace("\n", "\r\n")

ANN_FIELDS = {
    "version": "VERSION:3.0",
    "n": "N:Berg;Ann;;;",
    "fn": "FN:Ann Berg",
    "tel;type=cell,voice": "TEL;type=CELL;type=VOICE:+47 1",
    "tel;type=cell,voice#2": 'TEL;TYPE="voice,cell":+47 3',
    "tel;type=work": "TEL;TYPE=work:+47 2\nX-ABLABEL:Bridge",
    "x-odd": 'X-ODD;x="a:b":c\\,d',
}


@pytest.fixture
def ann(tmp_path: Path) -> Path:
    path = tmp_path / "ann.vcf"
    path.write_bytes(ANN.encode())
    return path


def fields_in(folder: Path, name: str = "ann.vcf") -> Fields | None:
    found = VcardFolder(folder).read([Key(name)])[Key(name)]
    assert isinstance(found, Change), found
    return found.fields


def update(folder: Path, expected: Fields, wanted: Fields) -> Outcome:
    [outcome] = VcardFolder(folder).apply([Write(GUID, Key("ann.vcf"), expected, wanted)])
    return outcome


def test_fields_of_a_card(ann: Path) -> None:
    assert fields_in(ann.parent) == ANN_FIELDS


def test_untouched_properties_stay_byte_for_byte(ann: Path) -> None:
    wanted = ANN_FIELDS | {"n": "N:Berg;Anna;;;", "note": "NOTE:new"}
    del wanted["tel;type=cell,voice#2"]
    assert update(ann.parent, ANN_FIELDS, wanted).result is WRITTEN
    expected = ANN.replace("N:Berg;Ann;", "N:Berg;Anna;")
    expected = expected.replace('TEL;TYPE="voice,cell":+47 3\r\n', "")
    expected = expected.replace("END:VCARD", "NOTE:new\r\nEND:VCARD")
    assert ann.read_bytes() == expected.encode()


def test_a_changed_group_is_written_as_a_group(ann: Path) -> None:
    wanted = ANN_FIELDS | {"tel;type=work": "TEL;TYPE=work:+47 9\nX-ABLABEL:Mess"}
    assert update(ann.parent, ANN_FIELDS, wanted).result is WRITTEN
    assert b"item2.TEL;TYPE=work:+47 9\r\nitem2.X-ABLABEL:Mess\r\n" in ann.read_bytes()
    assert fields_in(ann.parent) == wanted


def test_a_group_of_several_main_properties_is_several_fields(ann: Path) -> None:
    lines = "home.TEL:2\r\nHOME.ADR:1\r\nhome.X-ABLABEL:x\r\n"
    text = ANN.replace("PRODID", lines + "PRODID")
    ann.write_bytes(text.encode())
    both = {"adr": "ADR:1\nX-ABLABEL:x", "tel": "TEL:2"}
    assert fields_in(ann.parent) == ANN_FIELDS | both
    wanted = ANN_FIELDS | both | {"tel": "TEL:3"}
    assert update(ann.parent, ANN_FIELDS | both, wanted).result is WRITTEN
    assert ann.read_bytes() == text.replace("home.TEL:2", "TEL:3").encode()


def test_line_ends_of_the_file_are_kept(ann: Path) -> None:
    ann.write_bytes(ANN.replace("\r\n", "\n").encode())
    assert (
        update(ann.parent, ANN_FIELDS, ANN_FIELDS | {"note": "NOTE:" + "x" * 100}).result is WRITTEN
    )
    assert b"\r" not in ann.read_bytes()


@given(st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_cards_that_mean_the_same_have_equal_fields(chance: random.Random) -> None:
    lines = ANN.replace("\r\n ", "").split("\r\n")[1:-2]
    order = list(range(len(lines)))
    chance.shuffle(order)
    phones = [4, 7]  # one name: their order is content
    order = [phones.pop(0) if one in {4, 7} else one for one in order]
    end = chance.choice(["\r\n", "\n"])
    written = ["BEGIN:vcard", f"REV:{chance.random()}"]
    for one in order:
        head = lines[one].partition(":")[0].partition(";")[0]
        line = chance.choice([head.lower(), head.upper()]) + lines[one][len(head) :]
        cut = chance.randrange(1, len(line))
        written += [line[:cut], f"\t{line[cut:]}"] if chance.random() < 0.5 else [line]
    text = end.join([*written, "END:VCARD", ""])
    [parsed] = CardFormat().parse(text.encode()).records.values()
    assert parsed.fields == ANN_FIELDS


values = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=120)
cards = st.dictionaries(st.sampled_from(["n", "note", "uid", "x-y", "title"]), values).map(
    lambda given: (
        {"version": "VERSION:4.0", "fn": "FN:x"}
        | {name: f"{name.upper()}:{value}" for name, value in given.items()}
    )
)


@given(cards, cards)
def test_every_card_is_read_back_as_it_was_written(first: Fields, second: Fields) -> None:
    form = CardFormat()
    try:
        one, two = fitting(form, first), fitting(form, second)
    except Unfit:
        assert not any(str(fields.get("uid", "UID:x"))[4:].strip() for fields in (first, second))
        return
    document = form.parse(form.parse(b"").edited({form.key_for(one, ()): one}))
    [key] = document.records
    [after] = form.parse(document.edited({key: two})).records.values()
    assert same_fields(after.fields, second)


HOSTILE = {
    "line break": {"note": "NOTE:a\r\nTEL:1"},
    "line feed": {"note": "NOTE:a\nTEL:1"},
    "continuation": {"note": "NOTE:a\n b"},
    "end": {"note": "END:VCARD"},
    "second card": {"note": "NOTE:a\nEND:VCARD\nBEGIN:VCARD\nVERSION:3.0\nFN:Eve"},
    "nested": {"note": "BEGIN:VCARD"},
    "other name": {"note": "TEL:1"},
    "no property": {"note": "free text"},
    "empty": {"note": ""},
    "volatile": {"prodid": "PRODID:x"},
    "hidden in a group": {"tel": "TEL:1\nREV:2"},
    "another property in a group": {"tel": "TEL:1\nNOTE:2\nX-ABLABEL:y"},
    "number": {"note": 1},
    "null": {"note": None},
    "nul": {"note": "NOTE:\0"},
    "carriage return": {"note": "NOTE:a\r"},
    "surrogate": {"note": "NOTE:\ud800"},
    "name with a break": {"note\nx": "NOTE:a"},
    "group of its own": {"tel": "item9.TEL:1"},
    "name in small letters": {"note": "note:a"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_break_the_file_is_refused(ann: Path, name: str) -> None:
    hostile: Fields = ANN_FIELDS | HOSTILE[name]  # type: ignore[operator]
    outcome = update(ann.parent, ANN_FIELDS, hostile)
    assert outcome.result is REFUSED
    assert outcome.reason
    assert ann.read_bytes() == ANN.encode()
    file = ann.parent / "many.vcf"
    file.write_bytes(ANN.encode())
    dataset = VcardFile(file)
    [outcome] = dataset.apply([Write(GUID, Key("evil"), None, hostile)])
    assert outcome.result is REFUSED
    assert file.read_bytes() == ANN.encode()


@pytest.mark.parametrize("missing", ["version", "fn"])
def test_a_card_without_version_or_name_is_refused(ann: Path, missing: str) -> None:
    wanted = {name: value for name, value in ANN_FIELDS.items() if name != missing}
    outcome = update(ann.parent, ANN_FIELDS, wanted)
    assert outcome.result is REFUSED
    assert missing.upper() in outcome.reason


def test_a_new_file_is_named_by_the_guid_and_in_a_fixed_order(tmp_path: Path) -> None:
    dataset = VcardFolder(tmp_path)
    fields = {"uid": "UID:../../etc/passwd", "fn": "FN:x", "version": "VERSION:4.0"}
    key = dataset.propose_keys([Newcomer(GUID, fields)], frozenset())[0]
    assert key == "000102030405060708090a0b0c0d0e0f.vcf"
    assert dataset.apply([Write(GUID, key, None, fields)])[0].result is WRITTEN
    text = b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:x\r\nUID:../../etc/passwd\r\nEND:VCARD\r\n"
    assert (tmp_path / key).read_bytes() == text
    assert [one.name for one in tmp_path.iterdir()] == [key]


@pytest.mark.parametrize(
    "key", ["../x.vcf", "/tmp/x.vcf", "a/b.vcf", ".x.vcf", "x.txt", "", "x\0.vcf"]
)
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "x.vcf").write_bytes(ANN.encode())
    dataset = VcardFolder(folder)
    assert dataset.read([Key(key)])[Key(key)] == Change(Key(key), None, None)
    for expected in (None, ANN_FIELDS):
        [outcome] = dataset.apply([Write(GUID, Key(key), expected, ANN_FIELDS | {"note": "NOTE:"})])
        assert outcome.result is REFUSED
    assert (tmp_path / "x.vcf").read_bytes() == ANN.encode()
    assert list(folder.iterdir()) == []


def test_symbolic_links_are_neither_read_nor_written(ann: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.vcf"
    link.symlink_to(ann)
    dataset = VcardFolder(tmp_path)
    found = {one.key: one for one in dataset.changes({})}
    assert isinstance(found[Key("link.vcf")], Unreadable)
    [outcome] = dataset.apply([Write(GUID, Key("link.vcf"), ANN_FIELDS, None)])
    assert outcome.result is REFUSED
    assert link.is_symlink()
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    [outcome] = dataset.apply([Write(GUID, Key("link.vcf"), None, ANN_FIELDS)])
    assert outcome.result is REFUSED
    assert not (tmp_path / "nowhere").exists()


def test_other_files_are_none_of_our_business(ann: Path) -> None:
    for name in (".hidden.vcf", "notes.txt", "ann.vcf~", "ann.vcf.tmp"):
        (ann.parent / name).write_text("x")
    (ann.parent / "folder.vcf").mkdir()
    os.mkfifo(ann.parent / "pipe.vcf")
    assert [one.key for one in VcardFolder(ann.parent).changes({})] == ["ann.vcf"]


def test_a_gap_in_the_numbers_is_closed_and_told(ann: Path) -> None:
    wanted = {n: v for n, v in ANN_FIELDS.items() if n != "tel;type=cell,voice"}
    outcome = update(ann.parent, ANN_FIELDS, wanted)
    assert outcome == Outcome(WRITTEN, None)
    closed = fields_in(ann.parent)
    assert closed is not None
    assert closed["tel;type=cell,voice"] == wanted["tel;type=cell,voice#2"]
    again = update(ann.parent, closed, closed)
    assert again.result is WRITTEN
    assert again.etag is not None


def test_two_cards_in_one_file_of_a_folder_are_unreadable(ann: Path) -> None:
    ann.write_bytes(ANN.encode() * 2)
    [found] = VcardFolder(ann.parent).changes({})
    assert isinstance(found, Unreadable)


def card(name: str, uid: str = "") -> str:
    line = f"UID:{uid}\n" if uid else ""
    return f"BEGIN:VCARD\nVERSION:4.0\nFN:{name}\n{line}END:VCARD\n"


def fields_of(name: str) -> Fields:
    return {"version": "VERSION:4.0", "fn": f"FN:{name}"}


@pytest.fixture
def many(tmp_path: Path) -> Callable[[str], VcardFile]:
    def build(text: str) -> VcardFile:
        path = tmp_path / "many.vcf"
        path.write_text(text)
        return VcardFile(path)

    return build


def keys_of(dataset: VcardFile) -> list[str]:
    return [one.key for one in dataset.changes({})]


def test_cards_without_uid_are_known_by_name_and_number(many: Callable[[str], VcardFile]) -> None:
    text = card("Bo") + card("Bo") + card("Bo", "Bo") + card("Bo", "Bo")
    assert keys_of(many(text)) == ["\nBo\n1", "\nBo\n2", "Bo", "Bo\n2"]


def test_a_write_that_would_renumber_other_cards_is_refused(
    many: Callable[[str], VcardFile],
) -> None:
    dataset = many(card("Bo") + card("Bo") + card("Al"))
    writes = [
        Write(GUID, Key("\nBo\n1"), fields_of("Bo"), None),
        Write(GUID, Key("\nAl\n1"), fields_of("Al"), None),
    ]
    assert [one.result for one in dataset.apply(writes)] == [REFUSED, WRITTEN]
    assert keys_of(dataset) == ["\nBo\n1", "\nBo\n2"]


def test_two_new_cards_of_one_name_get_two_keys(many: Callable[[str], VcardFile]) -> None:
    dataset = many("")
    first = dataset.propose_keys([Newcomer(GUID, fields_of("Bo"))], frozenset())[0]
    second = dataset.propose_keys([Newcomer(GUID, fields_of("Bo"))], frozenset({first}))[0]
    writes = [Write(GUID, key, None, fields_of("Bo")) for key in (first, second)]
    assert [one.result for one in dataset.apply(writes)] == [WRITTEN, WRITTEN]
    assert keys_of(dataset) == [first, second]


def test_a_peer_cannot_pose_as_another_card(many: Callable[[str], VcardFile]) -> None:
    dataset = many(card("Bo", "u1") + card("Al", "u2"))
    stolen = {**fields_of("Eve"), "uid": "UID:u1"}
    key = dataset.propose_keys([Newcomer(GUID, stolen)], frozenset())[0]
    assert key not in {"u1", "u2"}
    changed = {**fields_of("Al"), "uid": "UID:u1"}
    old = {**fields_of("Al"), "uid": "UID:u2"}
    [outcome] = dataset.apply([Write(GUID, Key("u2"), old, changed)])
    assert outcome.result is REFUSED


def test_while_a_card_cannot_be_told_none_counts_as_vanished(
    many: Callable[[str], VcardFile],
) -> None:
    dataset = many(card("Al", "u2") + "BEGIN:VCARD\nUID u1\nFN:Bo\nEND:VCARD\n")
    found = {one.key: one for one in dataset.changes({Key("u1"): None, Key("u2"): None})}
    assert isinstance(found[Key("u1")], Unreadable)
    assert isinstance(found[Key("u2")], Change)


def test_what_stands_between_cards_stays(many: Callable[[str], VcardFile], tmp_path: Path) -> None:
    text = "\n" + card("Al", "u1").replace("FN:Al", "fn:A\n l") + "\n\n" + card("Bo", "u2").rstrip()
    dataset = many(text)
    fields = {**fields_of("Cy"), "uid": "UID:u3"}
    writes = [
        Write(GUID, Key("u3"), None, fields),
        Write(GUID, Key("u2"), {**fields_of("Bo"), "uid": "UID:u2"}, None),
    ]
    assert [one.result for one in dataset.apply(writes)] == [WRITTEN, WRITTEN]
    new = "".join(fold(one, b"\n").decode() for one in ("FN:Cy", "UID:u3"))
    left = text[: text.rindex("BEGIN")]
    expected = f"{left}BEGIN:VCARD\nVERSION:4.0\n{new}END:VCARD\n"
    assert (tmp_path / "many.vcf").read_text() == expected
