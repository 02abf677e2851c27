"""What the sections of a configuration file have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from mailsync.core.model import CONFLICTS
from mailsync.names import NAME_RULE, is_name


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"must be {NAME_RULE}")
    return text


def dataset_name(text: str) -> str:
    """A name that a dataset may have. Raises ValueError."""
    if text == CONFLICTS:
        raise ValueError(f"{CONFLICTS} is a reserved name")
    return _name(text)


def absolute(text: object, info: ValidationInfo) -> Path:
    """The path, relative to the configuration file. Raises ValueError."""
    if isinstance(text, Path):
        return text
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError("must be the path of a file")
    base: Path = (info.context or {}).get("base") or Path.cwd()
    try:
        return base / Path(text).expanduser()
    except RuntimeError as error:  # "~somebody" whom this system does not know
        raise ValueError(f"must be the path of a file: {error}") from None


def each_once(names: list[str]) -> list[str]:
    """The names. Raises ValueError if one of them stands there twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'"{name}" stands there twice')
    return names


Name = Annotated[str, AfterValidator(_name)]
DatasetName = Annotated[str, AfterValidator(dataset_name)]
FilePath = Annotated[Path, BeforeValidator(absolute)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Section(BaseModel):
    """A table of the file: exactly the keys listed, exactly their types, never changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, hide_input_in_errors=True
    )
