"""Values of which very many are made.

Rules
-----
* A frozen dataclass that is kept frozen at run time, too, takes five times as long to make, each
  of its fields being set by a call. Of most kinds that does not matter; of these the type checker
  alone sees to it that nobody writes to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_Kind = TypeVar("_Kind")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[_Kind]) -> type[_Kind]:
    """A dataclass with slots whose values nobody writes to."""
    return dataclass(slots=True)(kind)
