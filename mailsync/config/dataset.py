"""What the section of a dataset says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from mailsync.config.section import Section, Text

PATH_KINDS = frozenset({"vcard", "ical"})
SERVER_KINDS = frozenset({"postgresql+psycopg", "mariadb", "mariadb+mysqldb", "mariadb+pymysql"})
DATABASE_KINDS = SERVER_KINDS | {"sqlite"}
KINDS = PATH_KINDS | DATABASE_KINDS
LATER_KINDS = frozenset({"csv", "carddav", "caldav"})
"""Kinds of the public interface that this version does not have."""


def _source(text: str, info: ValidationInfo) -> str:
    """The source with its file's path made absolute."""
    base: Path = (info.context or {}).get("base", Path.cwd())
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite":
        if not rest.startswith("///") or rest in ("///", "///:memory:"):
            raise ValueError("must be of the form sqlite:///FILE")
        return f"sqlite:///{base / rest.removeprefix('///')}"
    if scheme in PATH_KINDS:
        if not rest or rest.startswith("//"):
            raise ValueError(f"must be of the form {scheme}:PATH")
        return f"{scheme}:{base / rest}"
    if scheme in SERVER_KINDS:
        if not re.fullmatch(r"//[^/]*/[^/]+", rest):
            raise ValueError(f"must be of the form {scheme}://USER@HOST/DATABASE")
        return text
    known = ", ".join(sorted(KINDS))
    if scheme in LATER_KINDS:
        raise ValueError(f"{scheme} is not supported by this version; kinds: {known}")
    raise ValueError(f"must begin with the kind of dataset and a colon; kinds: {known}")


def _without_password(source: str) -> str:
    return re.sub(r"^([a-z+]+://[^:/@]*):[^/]*@", r"\1:...@", source)


def _merge_policy(policy: object) -> object:
    known = isinstance(policy, str) and (
        policy == "ask" or policy.startswith(("site:", "routine:"))
    )
    if known:
        raise ValueError(f'"{policy}" is not supported by this version; use "newest"')
    return policy


class DatasetSettings(Section):
    """One dataset of this site."""

    source: Annotated[Text, AfterValidator(_source)]
    """Kind and place, e.g. ``sqlite:////data/pms.db`` or ``vcard:/data/contacts``."""
    table: Text | None = None
    """Table or view name; for SQL sources only."""
    keys: Literal["local", "shared"] | None = None
    """Has each site its own keys, or do all share natural ones? None: the dataset decides."""
    key: tuple[Text, ...] | None = None
    """Columns that tell rows apart where the table has no primary key."""
    conflict: Annotated[Literal["newest"], BeforeValidator(_merge_policy)] = "newest"

    @field_validator("table")
    @classmethod
    def _table_for_databases(cls, table: str | None, info: ValidationInfo) -> str | None:
        source = info.data.get("source")
        if source is not None:
            is_database = source.partition(":")[0] in DATABASE_KINDS
            if is_database and table is None:
                raise ValueError("missing: a database source needs it")
            if not is_database and table is not None:
                raise ValueError("only for database sources")
        return table

    @field_validator("keys", "key")
    @classmethod
    def _keys_for_databases(cls, keys: object, info: ValidationInfo) -> object:
        source = info.data.get("source")
        if keys and source and source.partition(":")[0] not in DATABASE_KINDS:
            raise ValueError("only for database sources")
        return keys

    @property
    def shown(self) -> str:
        """The source without a password."""
        return _without_password(self.source)

    @field_serializer("source", when_used="json")
    def _source_shown(self, source: str) -> str:
        return _without_password(source)
