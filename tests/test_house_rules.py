"""The house rules that no tool checks: sizes, names, docstrings, who may print.

Who may import whom is held by import-linter; see ``[tool.importlinter]`` in pyproject.toml.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mailsync"
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = sorted((PACKAGE / "core").glob("[!_]*.py"))

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "misc", "common", "tools", "stuff"}
"""Names that do not say what is inside, so anything may end up there."""

ABBREVIATIONS = {"cfg", "conf", "ctx", "db", "impl", "init", "mgr", "msg", "params", "proto", "srv"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls_of(path: Path, name: str) -> list[int]:
    """The lines on which a function of this name is called."""
    return [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_short(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    long = {
        f"{function.name}: {(function.end_lineno or 0) - function.lineno + 1} lines"
        for function in functions_of(path)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_says_what_it_is(path: Path) -> None:
    """By its docstring, and by a name of whole words."""
    assert ast.get_docstring(tree_of(path))
    words = set(re.split(r"[_.]+", path.stem.strip("_")))
    if path.stem != "__init__":
        assert not words & (EMPTY_NAMES | ABBREVIATIONS)


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_core_module_states_its_rules(path: Path) -> None:
    """A reader learns what always holds before how it is done."""
    docstring = ast.get_docstring(tree_of(path)) or ""
    _, heading, rules = re.split(r"^(Rules\b.*\n-+)$", docstring, maxsplit=1, flags=re.MULTILINE)
    assert heading
    assert re.match(r"\n(\* |1\. )", rules)


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_core_module_knows_its_types(path: Path) -> None:
    any_names = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Name) and node.id == "Any")
        or (isinstance(node, ast.Attribute) and node.attr == "Any")
        or (isinstance(node, ast.alias) and node.name == "Any")
    ]
    assert not any_names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_what_speaks_to_people_prints(path: Path) -> None:
    if not name_of(path).startswith(("cli/", "demo/")):
        assert not calls_of(path, "print")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_evaluated(path: Path) -> None:
    """What comes from a peer, a dataset or a file is data and never becomes code.

    The one exception is the file that the operator names for that, and the one module it goes
    through.
    """
    names = ("eval", "exec", "compile", "__import__")
    calls = {name for name in names if calls_of(path, name)}
    assert calls == ({"compile", "exec"} if name_of(path) == "routines.py" else set())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_unpickled(path: Path) -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree_of(path))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"pickle", "shelve", "dill"}
