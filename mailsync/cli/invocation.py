"""What every command gets: where the configuration is, and where to speak."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mailsync.cli.output import Output

if TYPE_CHECKING:
    from mailsync.config import Settings


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options before the command; commands receive it by ``@click.pass_obj``.

    ``option`` is the file named by ``-c``, if any.
    """

    option: Path | None = None
    output: Output = field(default_factory=Output)

    def configuration_path(self) -> Path:
        """The configuration file to use. Raises ``NotInitialised``."""
        from mailsync.config import find  # noqa: PLC0415  pydantic is slow to import

        return find(self.option, os.environ)

    def settings(self) -> Settings:
        """The configuration. Raises ``NotInitialised`` and ``BadConfiguration``."""
        from mailsync.config import load  # noqa: PLC0415  see above

        return load(self.configuration_path())
