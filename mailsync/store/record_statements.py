"""What the record map is asked, and told.

Rules
-----
* What every cycle asks reads only the records that want something, each by an index of these.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from mailsync.store import schema
from mailsync.store.record_rows import HoldingRow, RecordRow
from mailsync.store.statements import Statement, parameters

_dataset, _record = schema.dataset.c, schema.record.c
DATASETS = Statement(
    select(_dataset.name, _dataset.number, _dataset.layout, _dataset.renewed, _dataset.unheld)
)
ADD_DATASET = Statement(insert(schema.dataset).values(name=bindparam("name")))
_of_this_name = _dataset.name == bindparam("called")
LAY_OUT = Statement(
    update(schema.dataset)
    .where(_of_this_name)
    .values(layout=bindparam("layout"), renewed=bindparam("renewed"))
)
LOOKED_THROUGH = Statement(update(schema.dataset).where(_of_this_name).values(renewed=None))
NOTE_UNHELD = Statement(
    update(schema.dataset).where(_of_this_name).values(unheld=bindparam("unheld"))
)


def _where(*conditions: ColumnElement[bool]) -> Select[Any]:
    columns = (_record[name] for name in RecordRow._fields)
    return select(*columns).where(*conditions).order_by(_record.position)


def _among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column.in_(bindparam(name, expanding=True))


_of_dataset = _record.dataset == bindparam("dataset")
_has_key = _record.key.is_not(None)
# written out: for a parameter, the index of such records alone is chosen anew each time
_is_unwritten, _is_prunable, _is_gone = (
    column == literal_column("1") for column in (_record.unwritten, _record.prunable, _record.gone)
)
IDS = Statement(select(_record.dataset, _record.guid))
COUNT_ALL = Statement(select(func.count()).select_from(schema.record))
COUNT = Statement(
    select(func.count()).select_from(schema.record).where(_of_dataset, _record.shadow.is_not(None))
)
ANY = Statement(select(_record.dataset).where(_of_dataset, _record.shadow.is_not(None)).limit(1))
ALL = Statement(_where())
OF = Statement(_where(_of_dataset))
BY_GUID = Statement(_where(_of_dataset, _among(_record.guid, "guids")))
BETWEEN = Statement(
    _where(_record.position.between(bindparam("low"), bindparam("high"))).limit(bindparam("limit"))
)
BEHIND = Statement(
    _where(_of_dataset, _record.position > bindparam("after")).limit(bindparam("limit"))
)
UNWRITTEN = Statement(
    _where(
        _of_dataset,
        _is_unwritten,
        _among(_record.gone, "gone"),
        _record.position > bindparam("after"),
    ).limit(bindparam("limit"))
)
COUNT_UNWRITTEN = Statement(
    select(func.count()).select_from(schema.record).where(_of_dataset, _is_unwritten)
)
COUNT_UNDELETED = Statement(
    select(func.count()).select_from(schema.record).where(_of_dataset, _is_unwritten, _is_gone)
)
_is_behind = _record.position > bindparam("after")
PRUNABLE = Statement(_where(_is_prunable, _is_behind).limit(bindparam("limit")))
GONE = Statement(
    _where(_is_gone, _record.changed_at <= bindparam("before"), _is_behind).limit(
        bindparam("limit")
    )
)
AGE = Statement(
    update(schema.record)
    .where(_is_gone, _record.changed_at > bindparam("now"))
    .values(changed_at=bindparam("now"))
)
KNOWN = Statement(
    select(_record.key, _record.etag)
    .where(
        _of_dataset,
        _has_key,
        tuple_(_record.number, _record.key) > tuple_(bindparam("number"), bindparam("key")),
    )
    .order_by(_record.number, _record.key)
    .limit(bindparam("limit"))
)
_is_at = (_of_dataset, _record.number == bindparam("number"), _record.key == bindparam("key"))
ETAG = Statement(select(_record.etag).where(*_is_at))
BY_NUMBER = Statement(_where(_of_dataset, _among(_record.number, "numbers")))
BY_KEY = Statement(
    _where(_of_dataset, _record.number == bindparam("number"), _among(_record.key, "keys"))
)
COUNT_KEYS = Statement(select(func.count()).select_from(schema.record).where(_of_dataset, _has_key))
DOUBT = Statement(update(schema.record).where(_of_dataset, _has_key).values(etag=None))
NAMINGS = Statement(select(schema.naming.c.number, schema.naming.c.names))
ADD_NAMING = Statement(insert(schema.naming).values(names=bindparam("names")))
CHANGED_AT = Statement(
    select(_record.changed_at).where(_of_dataset, _record.guid == bindparam("guid"))
)
DROP = Statement(delete(schema.record).where(_of_dataset, _record.guid == bindparam("guid")))

_new = postgresql.insert(schema.record).values(parameters(schema.record))
_kept = {name: _new.excluded[name] for name in RecordRow._fields}
# a record that only settles is not news: its age counts from its last change
_moved = _new.excluded.position != _record.position
_changed_at = case((_moved, _new.excluded.changed_at), else_=_record.changed_at)
SAVE = Statement(
    _new.on_conflict_do_update(
        index_elements=["dataset", "guid"], set_={**_kept, "changed_at": _changed_at}
    )
)
HOLD = Statement(
    update(schema.record)
    .where(_record.position == bindparam("at"))
    .values({name: bindparam(name) for name in HoldingRow._fields})
)
HOLD_ORDER = (*HoldingRow._fields, "at")
