from __future__ import annotations

from pathlib import Path

import pytest

from mailsync.errors import BadConfiguration
from mailsync.routines import RoutineFailed, read_routines, routine


def written(directory: Path, text: str) -> Path:
    path = directory / "rules.py"
    path.write_text(text)
    return path


def test_a_function_of_the_file_is_called(tmp_path: Path) -> None:
    path = written(tmp_path, "FACTOR = 2\n\ndef double(value):\n    return value * FACTOR\n")
    assert routine(path, read_routines(path), "double")(21) == 42
    assert sorted(tmp_path.iterdir()) == [path], "nothing is left beside it"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def x(:\n", r"rules\.py:1: invalid syntax"),
        ("\n\nimport no_such_module\n", r"rules\.py:3: ModuleNotFoundError: No module named"),
        ("x = 1\nexit(3)\n", r"rules\.py:2: SystemExit: 3"),
        ("a\0b", r"rules\.py:1: .*null bytes"),
        ("x = 1\n", r"rules\.py defines no function x$"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_bad_configuration(
    tmp_path: Path, text: str, words: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadConfiguration, match=words):
        routine(path, read_routines(path), "x")


def test_a_missing_file_is_a_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"cannot read the routines in .*rules\.py: No such"):
        read_routines(tmp_path / "rules.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise ValueError('not a phone number')", "rules.py:5: not a phone number"),
        ("return inner({}[value])", "rules.py:5: KeyError: 7"),
        ("return inner(value)", "rules.py:2: TypeError: unsupported"),
        ("raise SystemExit", "rules.py:5: SystemExit"),
    ],
)
def test_what_a_function_raises_is_told_with_its_line(
    tmp_path: Path, line: str, words: str
) -> None:
    text = f"def inner(value):\n    return value + ''\n\ndef outer(value):\n    {line}\n"
    path = written(tmp_path, text)
    with pytest.raises(RoutineFailed) as caught:
        routine(path, read_routines(path), "outer")(7)
    assert str(caught.value).startswith(words)
