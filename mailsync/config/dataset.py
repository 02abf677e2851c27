"""What the section of a dataset says, or of a group of them: of several tables of a database."""

from __future__ import annotations

import re
from math import isnan
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from mailsync.config.filtering import PeerTerms
from mailsync.config.policy import ConflictPolicies, routine_place
from mailsync.config.quantities import DeleteLimit, parse_delete_limit
from mailsync.config.secret import Secret
from mailsync.config.section import FilePath, Name, Text, each_once
from mailsync.core.mapping import Constant, Place, Source
from mailsync.core.model import Value
from mailsync.names import LOOPBACK

PATH_KINDS = frozenset({"csv", "vcard", "ical"})
SERVER_KINDS = frozenset({"postgresql+psycopg", "mariadb", "mariadb+mysqldb", "mariadb+pymysql"})
DATABASE_KINDS = SERVER_KINDS | {"sqlite"}
REMOTE_KINDS = frozenset({"carddav", "caldav"})
SCHEDULE_KINDS = frozenset({"ical", "caldav"})
_SERVER = re.compile(r"//(?:[^/]*@)?(?:\[[^]/@]*\]|[^:/@]*)(?::[0-9]{1,5})?/[^/?]+(?:\?.*)?")
"""User and password, if any, a host, a port, a database, and options, which may name files."""
KINDS = PATH_KINDS | DATABASE_KINDS | REMOTE_KINDS


def _source(text: str, info: ValidationInfo) -> str:
    """The source with its file's path made absolute."""
    base: Path = (info.context or {}).get("base") or Path.cwd()
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
        if not _SERVER.fullmatch(rest):
            raise ValueError(f"must be of the form {scheme}://USER@HOST/DATABASE")
        return text
    if scheme in REMOTE_KINDS:
        return f"{scheme}:{_https_url(scheme, rest)}"
    known = ", ".join(sorted(KINDS))
    raise ValueError(f"must begin with the kind of dataset and a colon; kinds: {known}")


def _https_url(scheme: str, text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        port = 0
    if port == 0 or url.scheme not in {"https", "http"} or not url.hostname:
        raise ValueError(f"must be of the form {scheme}:https://USER@HOST/PATH")
    if url.password is not None:
        raise ValueError('must hold no password; use secret = { command = ["..."] }')
    if url.query or url.fragment or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a plain URL; what is unusual in it is written %XX")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError("clear text goes to this machine only; use https://")
    return text


def _kind(info: ValidationInfo) -> str:
    """The kind of the section's source; empty where that is a mistake itself."""
    return _kind_of(str(info.data.get("source", "")))


def _kind_of(source: str) -> str:
    return source.partition(":")[0]


def _without_password(source: str) -> str:
    return re.sub(r"^([a-z+]+://[^:/@]*):[^/]*@", r"\1:...@", source)


def _mapped(entry: object, info: ValidationInfo) -> Source:
    """What a shared field is here."""
    match entry:
        case Place() | Constant():
            return entry
        case str() if entry:
            return Place(entry)
        case {"value": value, **others} if not others:
            return Constant(_plain_value(value))
        case {"field": str(field), "routine": str(routine), **others} if field and not others:
            return Place(field, routine_place(routine, info))
    raise ValueError(
        'must be a field ("fn"), one with a routine ({ field = "fn", routine = "FILE:NAME" }) '
        'or a constant ({ value = "..." })'
    )


def _as_written(source: Source) -> object:
    match source:
        case Constant(value):
            return {"value": value}
        case Place(field, ""):
            return field
        case Place(field, routine):
            return {"field": field, "routine": routine}


def _plain_value(value: object) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("a value must be a text, a number, true or false")  # noqa: TRY004  pydantic
    if isinstance(value, float) and isnan(value):
        raise ValueError("nan is no value: nobody could say whether it has changed")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer must have at most 64 bits")
    return value


Mapped = Annotated[Source, PlainValidator(_mapped), PlainSerializer(_as_written)]
MaxDelete = Annotated[DeleteLimit, PlainValidator(parse_delete_limit), PlainSerializer(str)]
PlainValue = Annotated[str | int | float | bool, PlainValidator(_plain_value)]

EVERY_TABLE = "*"


def _once(tables: list[str]) -> list[str]:
    if EVERY_TABLE in tables:
        raise ValueError(f'for every table write table = "{EVERY_TABLE}"')
    each_once([table.lower() for table in tables])
    return tables


def member(group: str, table: str) -> str:
    """The name of a table's dataset in a group: alike wherever the table's differs only in case."""
    return f"{group}.{table.lower()}"


class DatasetSettings(PeerTerms):
    """One dataset of this site, or a group of them."""

    source: Annotated[Text, AfterValidator(_source)]
    """Kind and place, e.g. ``sqlite:////data/pms.db`` or ``vcard:/data/contacts``."""
    tables: Annotated[list[Text], Field(min_length=1), AfterValidator(_once)] | None = None
    """Tables of a database, each a dataset of its own."""
    table: Text | None = None
    """A table of a database; ``*``: every one that can be a dataset."""
    keys: Literal["local", "shared"] | None = None
    """Has each site its own keys, or do all share natural ones? None: the dataset decides."""
    key: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)] | None = None
    """Columns that tell rows apart where nothing else says it: no primary key, or a CSV file."""
    map: Annotated[dict[Text, Mapped], Field(min_length=1)] | None = None
    """Shared name to the own field it is here, or to a constant; None: the own names are shared."""
    set: dict[Text, PlainValue] | None = None
    """Own fields to what they hold in new records that come from peers."""
    match: Annotated[list[Text], Field(min_length=1)] | None = None
    """Fields that tell records apart wherever they came up; with them, sites that both hold data
    find out which records they both have before any of them travels."""
    secret: Secret | None = None
    """Where the password of a CardDAV or CalDAV server is, or its token if its URL has no user."""
    tls_ca: FilePath | None = None
    """Certificates of its own authority, PEM."""
    conflict: ConflictPolicies = Field(default="newest", validate_default=True)
    """What becomes of a value that lost against one whose author had not seen it."""
    delete_conflict: Literal["edit-wins", "delete-wins", "ask"] = "edit-wins"
    """What becomes of a delete that meets an edit it had not seen."""
    max_delete: MaxDelete = Field(default="10% or 50", validate_default=True)
    """How many records may be deleted at once, here or by peers, before a person is asked."""

    peers: dict[Name, PeerTerms] = Field(default_factory=dict)
    """For one peer only, by its name."""

    @field_validator("table")
    @classmethod
    def _table_or_tables(cls, table: str | None, info: ValidationInfo) -> str | None:
        if _kind(info) in DATABASE_KINDS:
            tables = info.data.get("tables")
            if table is None and "tables" in info.data and tables is None:
                raise ValueError("missing: a database source needs it, or tables")
            if table is not None and tables is not None:
                raise ValueError("tables stands there as well; write one of them")
        return table

    @field_validator("tables", "table", "keys")
    @classmethod
    def _for_databases(cls, given: object, info: ValidationInfo) -> object:
        if given and _kind(info) not in DATABASE_KINDS | {""}:
            raise ValueError("only for database sources")
        return given

    @field_validator("secret", "tls_ca")
    @classmethod
    def _for_servers_of_records(cls, given: object, info: ValidationInfo) -> object:
        if given is not None and _kind(info) not in REMOTE_KINDS | {""}:
            raise ValueError("only for carddav and caldav sources")
        return given

    @field_validator("key")
    @classmethod
    def _key_where_columns_are(cls, key: object, info: ValidationInfo) -> object:
        kind = _kind(info)
        if key and kind not in DATABASE_KINDS | {"csv", ""}:
            raise ValueError("only for database and CSV sources")
        if not key and kind == "csv":
            raise ValueError('missing: a CSV file needs it, e.g. key = ["part_no"]')
        return key

    @field_validator("map")
    @classmethod
    def _each_in_its_own_place(
        cls, sources: dict[str, Source] | None, info: ValidationInfo
    ) -> dict[str, Source] | None:
        if sources and (info.data.get("tables") or info.data.get("table") == EVERY_TABLE):
            raise ValueError("only for one table: give it a section of its own")
        taken: dict[str, str] = {}
        for name, source in (sources or {}).items():
            other = taken.setdefault(source.field, name) if isinstance(source, Place) else name
            if other != name:
                raise ValueError(f"{other} and {name} would both be kept in one field")
        return sources

    @field_validator("set")
    @classmethod
    def _set_what_is_not_mapped(
        cls, values: dict[str, Value] | None, info: ValidationInfo
    ) -> dict[str, Value] | None:
        sources: dict[str, Source] = info.data.get("map") or {}
        if values and "map" in info.data and not sources:
            raise ValueError("only together with map")
        for source in sources.values():
            if values and isinstance(source, Place) and source.field in values:
                raise ValueError(f'"{source.field}" is mapped already')
        return values

    @model_validator(mode="after")
    def _age_of_something(self) -> Self:
        if _kind_of(self.source) in SCHEDULE_KINDS and not self.map:
            return self
        for send in (self.send, *(terms.send for terms in self.peers.values())):
            if send is not None and send.max_age is not None and send.age_field is None:
                raise ValueError("send: max_age needs age_field: which moment does it count from?")
        return self

    @property
    def is_group(self) -> bool:
        """Does it stand for several datasets?"""
        return self.tables is not None or self.table == EVERY_TABLE

    def holds(self, name: str, dataset: str) -> bool:
        """Does a group of this name have, or could it have, this dataset?"""
        if self.tables is not None:
            return dataset in {member(name, table) for table in self.tables}
        return self.is_group and dataset.startswith(f"{name}.")

    def terms_for(self, peer: str) -> PeerTerms:
        """What holds for one peer: what its own section says, else what this one says."""
        own = self.peers.get(peer, PeerTerms())
        said = {name: getattr(self, name) for name in PeerTerms.model_fields}
        said |= {name: getattr(own, name) for name in own.model_fields_set}
        return PeerTerms.model_construct(**said)

    def of_table(self, table: str) -> DatasetSettings:
        """What the section says of one table of its group."""
        return self.model_copy(update={"table": table, "tables": None})

    @property
    def shown(self) -> str:
        """The source without a password."""
        return _without_password(self.source)

    @field_serializer("source", when_used="json")
    def _source_shown(self, source: str) -> str:
        return _without_password(source)
