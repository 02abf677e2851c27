"""Where the sample data is: inside an installed mailsync, or beside it in a checkout."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import mailsync


def samples() -> Traversable:
    """The folder with ``ship.sql``, ``contacts`` and ``schedule``."""
    packaged = resources.files(mailsync) / "samples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "samples"


def files(name: str) -> list[Traversable]:
    """The sample files of one folder, in the order of their names."""
    return sorted((samples() / name).iterdir(), key=lambda file: file.name)
