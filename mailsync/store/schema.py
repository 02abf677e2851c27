"""The state store's tables.

Rules
-----
* A column's meaning never changes. Times are milliseconds since 1970.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

metadata = MetaData()

version = Table("version", metadata, Column("number", Integer, nullable=False))

site = Table(
    "site",
    metadata,
    Column("number", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("horizon", BigInteger, nullable=False),
)

given = Table(
    "given",
    metadata,
    Column("class", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

dataset = Table(
    "dataset",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("layout", LargeBinary),
    Column("renewed", LargeBinary),
    Column("unheld", LargeBinary),
)

link = Table(
    "link",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("peer", Text, nullable=False, unique=True),
    Column("state", LargeBinary, nullable=False),
)

naming = Table(
    "naming",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("names", LargeBinary, nullable=False, unique=True),
)

# in the order of positions: what is new is added at the end, and what is due read in one go
record = Table(
    "record",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("dataset", Integer, nullable=False),
    Column("guid", LargeBinary, nullable=False),
    Column("key", Text),
    Column("number", BigInteger, nullable=False),
    Column("etag", LargeBinary),
    Column("shadow", LargeBinary),
    Column("marker", LargeBinary),
    Column("unwritten", Integer, nullable=False),
    Column("naming", Integer),
    Column("history", LargeBinary, nullable=False),
    Column("contents", LargeBinary, nullable=False),
    Column("prunable", Integer, nullable=False),
    Column("gone", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)
Index("record_guid", record.c.dataset, record.c.guid, unique=True)
# all that detection asks of the map, in the order in which it asks; no two records have one key
# of a dataset, but an index that says so would be written for each record besides this one
Index("record_place", record.c.dataset, record.c.number, record.c.key, record.c.etag)
# of the few records that want something done, in the order in which it is done
for _column, _order in (
    (record.c.unwritten, (record.c.dataset, record.c.position)),
    (record.c.prunable, (record.c.position,)),
    (record.c.gone, (record.c.position,)),
):
    Index(
        f"record_{_column.name}",
        *_order,
        sqlite_where=_column == 1,
        postgresql_where=_column == 1,
    )

dataset_note = Table(
    "dataset_note",
    metadata,
    Column("dataset", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("dataset", "name"),
    sqlite_with_rowid=False,
)

reservation = Table(
    "reservation",
    metadata,
    Column("dataset", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("guid", LargeBinary, nullable=False),
    PrimaryKeyConstraint("dataset", "key"),
)

match = Table(
    "match",
    metadata,
    Column("peer", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("keeping", Integer, nullable=False),
    Column("tag", BigInteger, nullable=False),
    Column("shared", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("said", BigInteger, nullable=False),
    Column("wanted", BigInteger, nullable=False),
    Column("said_at", BigInteger, nullable=False),
    Column("heard_tag", BigInteger),
    Column("heard_shared", Integer, nullable=False),
    Column("heard_size", BigInteger, nullable=False),
    Column("heard", LargeBinary, nullable=False),
    Column("answered_tag", BigInteger),
    Column("matched_tag", BigInteger),
    Column("ranks", LargeBinary, nullable=False),
    Column("matched_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("peer", "dataset"),
)

likeness = Table(
    "likeness",
    metadata,
    Column("peer", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("guid", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("peer", "dataset", "rank"),
    sqlite_with_rowid=False,
)
Index("likeness_guid", likeness.c.dataset, likeness.c.guid)

proof = Table(
    "proof",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("inquiry", LargeBinary),
    Column("reply", LargeBinary),
)

alias = Table(
    "alias",
    metadata,
    Column("dataset", Text, nullable=False),
    Column("old", LargeBinary, nullable=False),
    Column("new", LargeBinary, nullable=False),
    PrimaryKeyConstraint("dataset", "old"),
)
Index("alias_new", alias.c.dataset, alias.c.new)

outbox = Table(
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("peer", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("container", LargeBinary, nullable=False),
    Column("positions", LargeBinary, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("perhaps_taken", Integer, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sent_at", BigInteger),
    sqlite_autoincrement=True,
)

route = Table(
    "route",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("max_message", BigInteger),
    Column("step", Integer, nullable=False),
    Column("stripped", Integer, nullable=False),
    Column("learnt_at", BigInteger, nullable=False),
    Column("announced", BigInteger),
)

pause = Table(
    "pause",
    metadata,
    Column("name", Text, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)

dispatch = Table(
    "dispatch",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("peer", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
)
Index("dispatch_sent_at", dispatch.c.sent_at)

warning = Table(
    "warning",
    metadata,
    Column("name", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("peer", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("content", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("inbox_received_at", inbox.c.received_at)

part = Table(
    "part",
    metadata,
    Column("peer", Text, nullable=False),
    Column("bundle", LargeBinary, nullable=False),
    Column("part", Integer, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("slice", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("peer", "bundle", "part"),
)
Index("part_received_at", part.c.received_at)

body = Table(
    "body",
    metadata,
    Column("peer", Text, nullable=False),
    Column("ours", Integer, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("shared", Integer, nullable=False),
    Column("octets", LargeBinary, nullable=False),
    PrimaryKeyConstraint("peer", "ours", "serial"),
)

memory = Table(
    "memory",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("serial", BigInteger, nullable=False),
    Column("forgot", Integer, nullable=False),
)

place = Table(
    "place",
    metadata,
    Column("account", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("validity", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("look_at", BigInteger),
    Column("looks", Integer, nullable=False, default=0),
    Column("size", BigInteger, nullable=False, default=0),
    PrimaryKeyConstraint("account", "folder", "validity", "number"),
)

conflict = Table(
    "conflict",
    metadata,
    Column("guid", LargeBinary, primary_key=True),
    Column("winner", LargeBinary, nullable=False),
    Column("noted_at", BigInteger, nullable=False),
    # what the note says, for counting: open is empty until it is looked at, and after each change
    Column("open", Integer),
    Column("waits", Integer),
    Column("dataset", Text),
    Column("field", Text),
)
Index("conflict_open", conflict.c.open, conflict.c.dataset, conflict.c.field, conflict.c.waits)

held = Table(
    "held",
    metadata,
    Column("dataset", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("peer", Text, nullable=False),
    PrimaryKeyConstraint("dataset", "name", "peer"),
)

former = Table(
    "former",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("bundle", Integer),
    Column("at", BigInteger, nullable=False),
    Column("octets", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
Index("former_bundle", former.c.bundle)
Index("former_at", former.c.at)

stop = Table(
    "stop",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("meant", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("guid", LargeBinary),
    Column("text", Text, nullable=False),
    Column("positions", LargeBinary),
    sqlite_autoincrement=True,
)
Index("event_guid", event.c.guid)
Index("event_at", event.c.at)

traffic = Table(
    "traffic",
    metadata,
    Column("peer", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("mails", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("peer", "day", "direction"),
)
