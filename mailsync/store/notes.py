"""What adapters of datasets noted for the next time, in their own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql

from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_note = schema.dataset_note.c
_OF = Statement(select(_note.name, _note.content).where(_note.dataset == bindparam("dataset")))
_written = postgresql.insert(schema.dataset_note).values(parameters(schema.dataset_note))
_WRITE = Statement(
    _written.on_conflict_do_update(
        index_elements=["dataset", "name"], set_={"content": _written.excluded.content}
    )
)
_DROP = Statement(
    delete(schema.dataset_note).where(
        _note.dataset == bindparam("dataset"), _note.name == bindparam("name")
    )
)


GATE: Final = "\0gate"
"""The name of a note that is ours: what tells that nothing in the dataset has changed since all
that was in it became known. Adapters' own notes have other names."""


class StoredNotes:
    """Every note, by dataset and by a name that the dataset gave it."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def of(self, dataset: str) -> dict[str, bytes]:
        """All notes of a dataset."""
        return {name: bytes(content) for name, content in self._session.rows(_OF, dataset=dataset)}

    def keep(self, dataset: str, notes: Mapping[str, bytes | None]) -> None:
        """Write these notes of a dataset; None: drop it."""
        for statement, is_written in ((_WRITE, True), (_DROP, False)):
            rows = [
                {"dataset": dataset, "name": name, **({"content": content} if is_written else {})}
                for name, content in notes.items()
                if (content is not None) is is_written
            ]
            if rows:
                self._session.run_each(statement, rows)
