"""Every mistake of a configuration, each as one line an operator can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from mailsync.config.dataset import EVERY_TABLE, DatasetSettings, member
from mailsync.config.filtering import PeerTerms, ReceiveSettings, SendSettings
from mailsync.config.lines import Path
from mailsync.config.secret import SecretSettings
from mailsync.config.settings import (
    EVERYTHING_ELSE,
    BudgetSettings,
    MailSettings,
    PeerSettings,
    Settings,
    SiteSettings,
)
from mailsync.names import NAME_RULE, is_name

LATER: Final[Mapping[type[BaseModel], frozenset[str]]] = {
    Settings: frozenset({"web", "worker", "daemon", "link", "log"}),
    SiteSettings: frozenset({"units", "image"}),
    MailSettings: frozenset({"auth", "push", "token_command"}),
    SecretSettings: frozenset({"keyring", "credential"}),
    PeerSettings: frozenset({"push", "send", "receive"}),
    DatasetSettings: frozenset({"image", "guid", "watch"}),
}
"""Keys of the public interface that this version does not act on yet."""

_SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    "site": SiteSettings,
    "mail": MailSettings,
    "peers": PeerSettings,
    "datasets": DatasetSettings,
}
_NAMED: Final = frozenset({"peers", "datasets"})

_PHRASES: Final[Mapping[str, str]] = {
    "missing": "missing",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a section",
    "model_type": "must be a section",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must not hold control characters",
}


class Mistake(NamedTuple):
    """Where in the file (names from its top), and what is wrong there."""

    path: Path
    text: str

    def __str__(self) -> str:
        """The place as ``[section] key`` and what is wrong there."""
        return f"{_place(self.path)}: {self.text}"


def mistakes_in(error: ValidationError) -> Iterator[Mistake]:
    """One mistake for each thing pydantic found."""
    for found in error.errors(include_url=False, include_input=False):
        path = tuple(str(name) for name in found["loc"] if name != "[key]")
        if found["type"] == "extra_forbidden":
            yield Mistake(path, _unknown(path))
        else:
            yield Mistake(path, _phrase(found["type"], found["msg"], found.get("ctx", {})))


def unknown_datasets(document: Mapping[str, object]) -> Iterator[Mistake]:
    """Datasets that a peer's section names and that have no section of their own."""
    datasets, peers = document.get("datasets", {}), document.get("peers", {})
    if not isinstance(datasets, dict) or not isinstance(peers, dict):
        return
    for peer, section in peers.items():
        for path, name in _named_datasets(section):
            if not _is_known(name, datasets):
                text = f'there is no section [datasets.{name}] for "{name}"'
                yield Mistake(("peers", peer, *path), text + _suggestion(name, datasets))


def unlinked_peers(document: Mapping[str, object]) -> Iterator[Mistake]:
    """Peers whose link nobody would ever make."""
    site, peers = document.get("site", {}), document.get("peers", {})
    if not isinstance(peers, dict) or (isinstance(site, dict) and "listen" in site):
        return
    for name, section in peers.items():
        if not isinstance(section, dict) or "link" in section:
            continue
        carrier = section.get("carrier")
        if carrier == "tcp" or (isinstance(carrier, list) and "tcp" in carrier):
            text = '"tcp" needs link, where the peer listens, or listen under [site]'
            yield Mistake(("peers", name, "carrier"), text)


def unknown_peers(document: Mapping[str, object]) -> Iterator[Mistake]:
    """Peers that a dataset's section names and that have no section of their own."""
    datasets, peers = document.get("datasets", {}), document.get("peers", {})
    if not isinstance(datasets, dict) or not isinstance(peers, dict):
        return
    for name, section in datasets.items():
        named = section.get("peers") if isinstance(section, dict) else None
        for peer in named if isinstance(named, dict) else ():
            if peer not in peers:
                text = f"there is no section [peers.{peer}]" + _suggestion(peer, peers)
                yield Mistake(("datasets", name, "peers", peer), text)


def unfit_tables(document: Mapping[str, object]) -> Iterator[Mistake]:
    """Tables of groups that can be no datasets of that name."""
    datasets = document.get("datasets")
    if not isinstance(datasets, dict):
        return
    for group, section in datasets.items():
        for table in _tables(section):
            name = member(group, table)
            if not is_name(name):
                text = (
                    f'"{table}" needs a section of its own: a dataset\'s name must be {NAME_RULE}'
                )
                yield Mistake(("datasets", group, "tables"), text)
            elif name in datasets:
                text = f'"{table}" has a section of its own, [datasets.{name}]'
                yield Mistake(("datasets", group, "tables"), text)


def _is_known(name: str, datasets: Mapping[str, object]) -> bool:
    """Has it a section, or can it be of a group?"""
    return name in datasets or any(
        name in {member(group, table) for table in _tables(section)}
        or (_is_open(section) and name.startswith(f"{group}."))
        for group, section in datasets.items()
    )


def _tables(section: object) -> list[str]:
    tables = section.get("tables") if isinstance(section, dict) else None
    found = tables if isinstance(tables, list) else []
    return [one for one in found if isinstance(one, str) and one != EVERY_TABLE]


def _is_open(section: object) -> bool:
    return isinstance(section, dict) and section.get("table") == EVERY_TABLE


def _named_datasets(section: object) -> Iterator[tuple[Path, str]]:
    """Where in a peer's section datasets are named, and which."""
    if not isinstance(section, dict):
        return
    budget = section.get("budget")
    ranked = budget.get("priority") if isinstance(budget, dict) else None
    lists = {("datasets",): section.get("datasets"), ("budget", "priority"): ranked}
    for path, names in lists.items():
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str) and name != EVERYTHING_ELSE:
                yield path, name


def _place(path: Path) -> str:
    depth = 2 if path[0] in _NAMED else 1
    if path[0] not in _SECTIONS:
        return ".".join(path)
    return f"[{'.'.join(path[:depth])}] {'.'.join(path[depth:])}".rstrip()


def _phrase(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}".replace("'", '"')
    return _PHRASES.get(kind, message)


def _unknown(path: Path) -> str:
    model = _model_of(path)
    if path[-1] in LATER.get(model, frozenset()):
        return "not supported by this version"
    known = [name for name in model.model_fields if (model, name) != (Settings, "path")]
    kind = "key" if len(path) > 1 else "section"
    return f"unknown {kind}" + _suggestion(path[-1], known)


def _model_of(path: Path) -> type[BaseModel]:
    """The section that was to hold the last name of the path."""
    if len(path) == 1:
        return Settings
    if path[:2] == ("mail", "secret"):
        return SecretSettings if len(path) > 2 else MailSettings
    if path[0] == "peers" and path[2] == "budget" and len(path) > 3:
        return BudgetSettings
    if path[0] == "datasets":
        return _model_of_terms(path[2:])
    return _SECTIONS[path[0]]


def _model_of_terms(path: Path) -> type[BaseModel]:
    """The same within the section of a dataset."""
    model: type[BaseModel] = DatasetSettings
    if path[0] == "peers" and len(path) > 2:
        model, path = PeerTerms, path[2:]
    inner: dict[str, type[BaseModel]] = {"send": SendSettings, "receive": ReceiveSettings}
    return inner.get(path[0], model) if len(path) > 1 else model


def _suggestion(name: str, known: Mapping[str, object] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
