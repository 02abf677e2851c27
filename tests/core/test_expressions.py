"""The expression language: what it means, and that nothing else comes of any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core.conditions import Condition, Truth, fields_of, holds
from mailsync.core.expressions import DEPTH_MAX, LENGTH_MAX, BadExpression, parse
from mailsync.core.filters import Filter
from mailsync.core.model import Fields, Value
from mailsync.core.moments import moment_of

NOW = 1_790_000_000_000
"""2026-09-21 14:13:20 UTC."""
ROW: Fields = {
    "n": 5,
    "f": 0.5,
    "d": "12.50",
    "t": "Pump 50% a_b",
    "e": "",
    "u": None,
    "b": b"\x01",
    "yes": True,
    "day": "2026-09-20",
    "at": "2026-09-21T14:13:20+02:00",
    "tel;type=cell": "+1",
    "CamelCase": "x'y",
    "dtend": "DTEND;TZID=Europe/Berlin:20260921T000000",
}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("n = 5", True),
        ("n <> 5", False),
        ("n != 6", True),
        ("n = '5'", True),
        ("n = '5.0'", True),
        ("n > 4.99 and n <= 5", True),
        ("d = 12.5", True),
        ("d = '12.5'", False),
        ("d < 100", True),
        ("d < '100'", False),
        ("f = 0.5", True),
        ("f < d", True),
        ("t = 5", None),
        ("t <> 5", None),
        ("b = 'a'", None),
        ("yes = true", True),
        ("yes = 1", True),
        ("u = null", None),
        ("u is null", True),
        ("nowhere is null", True),
        ("e is null", False),
        ("e = ''", True),
        ("u = 1 or n = 5", True),
        ("u = 1 and n = 5", None),
        ("u = 1 and n = 6", False),
        ("not (u = 1)", None),
        ("not u is null", False),
        ("u is not null", False),
        ("n in (1, 5)", True),
        ("n in (1, u)", None),
        ("n not in (1, u)", None),
        ("n not in (1, 2)", True),
        ("n between 5 and 6", True),
        ("n not between 1 and 4", True),
        ("n between u and 4", False),
        ("t like 'Pump%'", True),
        ("t like 'pump%'", False),
        ("t like '%50\\%%'", True),
        ("t like '%a\\_b'", True),
        ("t like '_ump%'", True),
        ("t not like '%x%'", True),
        ("e like ''", True),
        ("n like '5'", None),
        ("u like '%'", None),
        ("\"tel;type=cell\" = '+1'", True),
        ("CamelCase = 'x''y'", True),
        ("camelcase is null", True),
        ("NOT n = 5 OR n = 5", True),
        ("n = 1 or n = 5 and t = 'x'", False),
        ("day < now()", True),
        ("at < now()", True),
        ("now() >= dtend", True),
        ("t < now()", None),
        ("age(day) < '2d'", True),
        ("age(day) > '36h'", True),
        ("'2d' > age(day)", True),
        ("age(t) < '2d'", None),
        ("age(at) between '2h' and '2h'", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, truth: Truth) -> None:
    assert holds(parse(text), ROW, NOW) is truth


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column 1: expected a field or a value, found the end"),
        ("n", "column 2: expected a comparison, found the end"),
        ("n = ", "column 5: expected a field or a value"),
        ("n = 5 n = 6", "column 7: expected and, or, or the end, found n"),
        ("(n = 5", "column 7: expected ), found the end"),
        ("n = 'x", "column 5: a quote without its end"),
        ("n = 5; drop table x", "column 6: ';' means nothing here"),
        ("n = upper(t)", "column 5: there is no function upper"),
        ("age(5) < '1d'", "column 5: age needs the name of a field"),
        ("age(day) < 'long'", "column 12: an age is compared with a duration"),
        ("t like t", "column 8: expected a text in single quotes"),
        ("t like 'a\\'", "column 8: a backslash"),
        ("n = 99999999999999999999", "column 5: the number has more than 64 bits"),
        ("n is 5", "column 6: expected null, found 5"),
        ("not " * 60 + "n = 5", f"nested more than {DEPTH_MAX} deep"),
        ("(" * 60 + "n = 5" + ")" * 60, f"nested more than {DEPTH_MAX} deep"),
        ("n = 5 or " * 499 + "n = 5", f"more than {LENGTH_MAX} characters"),
        ("n in (" + "1," * 600 + "1)", "more than 500 conditions"),
        ("__import__('os').system('true')", "column 17: '.' means nothing here"),
    ],
)
def test_a_mistake_is_named_with_its_column(text: str, words: str) -> None:
    with pytest.raises(BadExpression) as found:
        parse(text)
    assert words in str(found.value)


WORDS = ["n", "t", "u", '"odd one"', "5", "1.5", "'x'", "'%'", "''", "null", "true", "now()",
         "age(day)", "'2d'", "and", "or", "not", "in", "like", "is", "between", "(", ")", ",",
         "=", "<>", "<", ">=", "\\", "'", '"', ";", "--", "\0", "\u0661"]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map(" ".join)))
@settings(max_examples=400)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        condition = parse(text)
    except BadExpression:
        return
    assert holds(condition, ROW, NOW) in {True, False, None}
    assert all(name in text.replace('""', '"') for name in fields_of(condition))


VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False),
    st.text(), st.binary(),
    st.sampled_from(["1e9", "12.50", "9999-99-99", "2026-02-30 25:00", "²"]),
)  # fmt: skip


@given(VALUES, VALUES, st.sampled_from(["=", "<", "<>", ">="]))
def test_whatever_stands_in_fields_is_true_false_or_unknown(
    one: Value, other: Value, sign: str
) -> None:
    fields = {"a": one, "b": other}
    truth = holds(parse(f"a {sign} b"), fields, NOW)
    assert (truth is None) >= (one is None or other is None)
    mirrored = {"=": "=", "<": ">", "<>": "<>", ">=": "<="}[sign]
    assert holds(parse(f"b {mirrored} a"), fields, NOW) is truth
    for text in ("a < now()", "age(a) < '1d'", "a like '%'", "a in (b, 1)", "a between b and 2.5"):
        assert holds(parse(text), fields, NOW) in {True, False, None}


def _opposites(text: str) -> tuple[Condition, Condition]:
    return parse(text), parse(f"not ({text})")


@given(st.fixed_dictionaries({"n": VALUES, "t": VALUES}))
def test_an_expression_and_its_opposite_are_never_both_true(fields: dict[str, Value]) -> None:
    for text in ("n < 5", "n in (1, t)", "t like '%a%'", "n = 1 or t = 'x'", "n < t and n is null"):
        one, other = (holds(each, fields, NOW) for each in _opposites(text))
        assert other is (None if one is None else not one)


@given(st.text("ab%_\\", max_size=8), st.text("ab%_\\", max_size=12))
def test_like_is_what_a_plain_search_finds(pattern: str, text: str) -> None:
    escaped = "".join("\\" + one if one in "%_\\" else one for one in pattern)
    assert holds(parse(f"t like '{escaped}'"), {"t": text}, NOW) is (pattern == text)
    assert holds(parse(f"t like '%{escaped}%'"), {"t": text}, NOW) is (pattern in text)


def test_a_long_text_does_not_make_like_slow() -> None:
    assert holds(parse("t like '%a%a%a%a%a%a%a%a%b'"), {"t": "a" * 20_000}, NOW) is False


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("1970-01-01", 0),
        ("1970-01-01 00:00:01.5", 1500),
        ("2000-02-29T12:00:00Z", 951_825_600_000),
        ("20000229T120000Z", 951_825_600_000),
        ("2000-02-29 12:00:00+05:30", 951_805_800_000),
        ("2000-02-29 12:00:00-05", 951_843_600_000),
        ("DTSTART;VALUE=DATE:20000229", 951_782_400_000),
        ("1969-12-31 23:59:59", -1000),
        ("1900-02-29", None),
        ("2000-13-01", None),
        ("soon", None),
        (1.5, 1500),
        (True, None),
        (b"2000-02-29", None),
        (float("inf"), None),
    ],
)
def test_moments_are_read_in_all_their_forms(value: Value, moment: int | None) -> None:
    assert moment_of(value) == moment


def test_a_filter_lets_pass_what_is_true_and_not_too_old() -> None:
    young = Filter(parse("n >= 5"), 2 * 86_400_000, "day")
    assert young.passes(ROW, NOW)
    assert not young.passes(ROW, NOW + 86_400_000)
    assert young.passes({**ROW, "day": None}, NOW)
    assert not young.passes({**ROW, "n": None}, NOW)
    assert young.fields == {"n", "day"}
    assert young.is_timed
    assert not Filter(parse("n = 5")).is_timed
    assert Filter(parse("n = 5 or day < now()")).is_timed
    assert parse("n = 1.50") == parse("n = +1.50") != parse("n = 1.5 or n = 2")
