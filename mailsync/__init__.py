"""Two-way synchronization of datasets between sites whose only link is e-mail.

The library's face: :class:`Site`, :class:`Conflict`, :class:`Finding`, :class:`Plan`,
:class:`Report`, :class:`SyncResult` (see :mod:`mailsync.library`) and the errors of
:mod:`mailsync.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailsync.library import Conflict, Finding, Plan, Report, Site, SyncResult

__all__ = ["Conflict", "Finding", "Plan", "Report", "Site", "SyncResult"]


def __getattr__(name: str) -> object:
    """Load the library when it is first used: commands that need none of it stay fast."""
    if name in __all__:
        from mailsync import library  # noqa: PLC0415  see above

        return getattr(library, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
