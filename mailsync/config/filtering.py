"""What a dataset's section says of filters, direction and rights: for all peers, or for one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from mailsync.config.policy import routine_place
from mailsync.config.quantities import format_duration, parse_duration
from mailsync.config.section import Section, Text, each_once
from mailsync.core.expressions import parse

EVERY_FIELD = "*"


def _expression(text: str) -> str:
    """The text, if it is an expression. Raises ValueError with the column."""
    parse(text)
    return text


def _fields(names: list[str]) -> list[str]:
    if EVERY_FIELD in names and len(names) > 1:
        raise ValueError(f'"{EVERY_FIELD}" is all of them; leave the others out')
    return each_once(names)


Expression = Annotated[Text, AfterValidator(_expression)]
RoutinePlace = Annotated[str, AfterValidator(routine_place)]
FieldNames = Annotated[list[Text], AfterValidator(_fields)]
Age = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Acts = Annotated[list[Literal["insert", "update", "delete"]], AfterValidator(each_once)]


class SendSettings(Section):
    """Which records, and what of them, go to a peer."""

    where: Expression | None = None
    """A record goes of which this is true."""
    max_age: Age | None = None
    """Seconds since the moment in ``age_field`` after which it is not for the peer any more."""
    age_field: Text | None = None
    """None, of a schedule: the end of the last occurrence."""
    fields: Annotated[FieldNames, Field(min_length=1)] | None = None
    """The fields that go; None: all."""
    routine: RoutinePlace | None = None
    """``FILE:NAME`` of a function that keeps or drops what passed."""

    @model_validator(mode="after")
    def _age_of_something(self) -> Self:
        if self.max_age is None and self.age_field is not None:
            raise ValueError("age_field is nothing without max_age")
        return self


class ReceiveSettings(Section):
    """Which records of a peer's, and what of them, are taken."""

    where: Expression | None = None
    """A record comes into the dataset of which this is true."""
    fields: FieldNames | None = None
    """The fields the peer may write; None: all."""
    routine: RoutinePlace | None = None
    """``FILE:NAME`` of a function that keeps, drops or rewrites what passed."""


class PeerTerms(Section):
    """For one peer: what stands here stands for what the dataset's section says."""

    direction: Literal["both", "send", "receive"] | None = None
    """Does what users do here go to the peer, and does what the peer sends come in?"""
    send: SendSettings | None = None
    receive: ReceiveSettings | None = None
    on_leave: Literal["withdraw", "keep"] | None = None
    """What becomes, at the peer, of a record that leaves the outbound filter."""
    allow: Acts | None = None
    """What the peer may do to records; None: everything."""
