"""Users who edit the tables at three sites at once, by chance.

Rules
-----
* Every row has a tag that says whose it is: rows of ``base`` were there first, and everybody edits
  them; others are edited and deleted by their owner alone, and only their owner refers to them.
* So no site takes away what another one has just come to need, and nothing need be held.
* Careless ones edit, delete and refer to whatever they see, and leave keys and other unique
  values alone: a row that was deleted and comes back has those it had. What is held then, they
  delete.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.eleven_tables.schema import CHILDREN, KEYS, NEEDED, REFERENCES, TABLES

Row = dict[str, Any]


@dataclass
class User:
    """Somebody who works at one site by chance."""

    name: str
    connection: Any
    chance: random.Random
    mark: str = "%s"
    """What stands for a value in the driver's statements."""
    careless: bool = False
    done: Counter[str] = field(default_factory=Counter)
    serial: int = 0

    def run(self, statement: str, *values: Any) -> list[Row]:
        cursor = self.connection.cursor()
        cursor.execute(statement.replace("?", self.mark), values)
        if not cursor.description:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def insert(self, table: str, **row: Any) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *row.values())

    def update(self, table: str, row: Row, **values: Any) -> None:
        sets = ", ".join(f"{name} = ?" for name in values)
        where, key = self.where(table, row)
        self.run(f"UPDATE {table} SET {sets} WHERE {where}", *values.values(), *key)

    def delete(self, table: str, row: Row) -> None:
        where, key = self.where(table, row)
        self.run(f"DELETE FROM {table} WHERE {where}", *key)

    def rows(self, table: str) -> list[Row]:
        """In an order that chance may rely on."""
        return sorted(self.run(f"SELECT * FROM {table}"), key=lambda row: str(row["tag"]))

    def where(self, table: str, row: Row) -> tuple[str, list[Any]]:
        key = KEYS.get(table, ("id",))
        return " AND ".join(f"{name} = ?" for name in key), [row[name] for name in key]

    def has(self, table: str, row: Row) -> bool:
        """Is there such a row, or can there be none, for want of a key?"""
        if table not in KEYS:
            return False
        where, key = self.where(table, row)
        return None in key or bool(self.run(f"SELECT tag FROM {table} WHERE {where}", *key))

    def tag(self) -> str:
        self.serial += 1
        return f"{self.name} {self.serial}"

    def owner(self, table: str, row: Row) -> str:
        """Whose the row is. A row with a key made of others is its parents' owner's."""
        parents = {
            name: parent
            for name, parent in REFERENCES.get(table, {}).items()
            if name in KEYS.get(table, ())
        }
        if not parents:
            return str(row["tag"]).partition(" ")[0]
        owners = {
            self.owner(parent, one)
            for name, parent in parents.items()
            for one in self.run(f"SELECT * FROM {parent} WHERE id = ?", row[name])
        }
        return next(iter(owners - {"base"}), "base")

    def seen(self, table: str, *owners: str) -> list[Row]:
        """The rows this user may edit or refer to."""
        if self.careless and not owners:
            return self.rows(table)
        mine = owners or ("base", self.name)
        return [row for row in self.rows(table) if self.owner(table, row) in mine]

    def pick(self, table: str, *owners: str) -> Row | None:
        rows = self.seen(table, *owners)
        return self.chance.choice(rows) if rows else None

    def some(self, table: str, column: str = "id") -> Any:
        """A reference to a row, or none."""
        row = self.pick(table) if self.chance.random() < 0.8 else None
        return None if row is None else row[column]


WORDS = (
    "",
    "rust",
    "größer als 3 mm",
    "\U0001f6a2 e\u0301",
    "a'b\"c\\d",
    "%s ? :x {y}",
    "  ",
    "1.0",
)
DAYS = ("1969-12-31", "2000-02-29", "2026-01-02", "2026-12-31")
MOMENTS = ("2026-01-02 03:04:05", "2026-02-03 00:00:00", "2026-03-04 23:59:59.5")


VALUES: dict[str, dict[str, Sequence[Any]]] = {
    "company": {"title": WORDS},
    "port": {"title": WORDS, "lat": (0.1, -1e300, 5e-324, 90.0)},
    "vessel": {
        "tonnage": ("0.00", "12.50", "99999999.99", None), "built": DAYS,
        "active": (True, False, None), "berths": (0, 7, 99),
    },
    "person": {
        "name": WORDS, "born": (*DAYS, None), "wakes": ("00:00:00", "23:59:59.25", None),
        "photo": (b"", b"\x00\xff'\\%s", bytes(range(256)), None), "rating": (0.1, 3.0, None),
        "pay": ("0.1000", "-1234567890123456.7890", None),
    },
    "medical": {"blood": ("A", "AB", None), "notes": WORDS, "until": DAYS},
    "certificate": {
        "issued": (f"{MOMENTS[0]}+00:00", f"{MOMENTS[2]}+00:00", None),
        "scan": ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", None),
        "data": ('{"a": 1.50, "b": [true, null]}', "[]", '"x"', None),
    },
    "visit": {"departed": (*MOMENTS, None)},
    "crew_list": {"job": WORDS, "since": (*DAYS, None)},
    "watch": {"hours": (0, 8, 24, None)},
    "cargo": {
        "label": WORDS, "tags": ("{}", "{a,b}", '{"x y",NULL}', None), "dangerous": (True, False),
        "span": ("P1DT2H", "PT3.5S", None), "large": (2**63 - 1, -(2**63), 0),
    },
    "remark": {"words": WORDS},
}  # fmt: skip
"""What users write where no reference and no key is."""


def values_of(user: User, table: str) -> Row:
    """A value by chance for each of these columns."""
    values = {name: user.chance.choice(values) for name, values in VALUES[table].items()}
    if user.name == "mari" and values.get("issued"):
        values["issued"] = values["issued"].removesuffix("+00:00")
    return values


def keys_of(user: User, table: str, tag: str) -> Row:
    """What a new row's key, or another unique column, holds."""
    chance = user.chance
    match table:
        case "company":
            return {"code": tag}
        case "port":
            return {"country": user.name[:2].upper(), "code": f"{user.name[0]}{user.serial}"}
        case "vessel":
            return {"imo": tag}
        case "person":
            return {"email": chance.choice((tag, None))}
        case "certificate":
            return {"number": chance.choice((tag, None))}
        case "medical":
            return {"person": user.some("person")}
        case "crew_list":
            return {"person": user.some("person"), "vessel": user.some("vessel")}
        case "visit":
            return {"vessel": user.some("vessel"), "arrival": chance.choice(MOMENTS)}
        case "watch":
            listed = user.pick("crew_list") or {}
            pair = {name: listed.get(name) for name in ("person", "vessel")}
            return {**pair, "day": chance.choice(DAYS)}
        case _:
            return {}


def add_row(user: User, table: str) -> None:
    tag = user.tag()
    row = {"tag": tag, **values_of(user, table), **references(user, table)}
    row |= keys_of(user, table, tag)
    if not user.has(table, row):
        user.insert(table, **row)


def references(user: User, table: str, needed: str = "") -> Row:
    """References by chance of a row whose key does not hold them; ``needed``: of that owner."""
    match table:
        case "company":
            return {"parent": user.some("company", "code")}
        case "vessel":
            company = user.pick("company", *filter(None, (needed,))) or {}
            return {"master": user.some("person"), "company": company.get("code")}
        case "person":
            return {"boss": user.some("person"), "vessel": user.some("vessel")}
        case "certificate":
            return {"person": (user.pick("person", *filter(None, (needed,))) or {}).get("id")}
        case "visit":
            port = user.pick("port") or {}
            return {"country": port.get("country"), "code": port.get("code")}
        case "cargo":
            visit = user.pick("visit") if user.chance.random() < 0.8 else {}
            return {name: (visit or {}).get(name) for name in ("vessel", "arrival")}
        case "remark":
            return {
                "reply_to": user.some("remark"), "person": user.some("person"),
                "medical": user.some("medical", "person"),
            }  # fmt: skip
        case _:
            return {}


def edit(user: User, table: str) -> None:
    if row := user.pick(table):
        values = values_of(user, table)
        names = user.chance.sample(sorted(values), user.chance.randint(1, len(values)))
        user.update(table, row, **{name: values[name] for name in names})


def move(user: User, table: str) -> None:
    """Give a row other parents; what a row of everybody's must have is everybody's too."""
    if row := user.pick(table):
        needed = "base" if user.owner(table, row) == "base" else ""
        if found := references(user, table, needed):
            user.update(table, row, **found)


def exchange(user: User, table: str) -> None:
    """Three rows pass on a unique value in a circle."""
    name = {"vessel": "imo", "person": "email"}.get(table)
    owners = ("base", "lite") if user.name == "lite" else (user.name,)
    rows = user.seen(table, *owners)
    if name is None or len(rows) < 3:
        return
    chosen = user.chance.sample(rows, 3)
    for row in chosen:
        user.update(table, row, **{name: f"moving {row['id']}"})
    for row, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        user.update(table, row, **{name: other[name]})


def rename(user: User, table: str) -> None:
    """Change a key; the engine carries it to the rows that refer to it."""
    row = user.pick(table, user.name)
    if row is None:
        return
    match table:
        case "company":
            if not user.run("SELECT tag FROM company WHERE parent = ?", row["code"]):
                user.update(table, row, code=user.tag())
        case "port":
            user.tag()
            user.update(table, row, code=f"{user.name[0]}{user.serial}")
        case "vessel":
            [greatest] = user.run("SELECT max(id) AS id FROM vessel")
            user.update(table, row, id=greatest["id"] + 10)


def remove(user: User, table: str) -> None:
    row = user.pick(table) if user.careless else user.pick(table, user.name)
    if row is not None:
        remove_row(user, table, row)


def remove_row(user: User, table: str, row: Row) -> None:
    """Delete a row; rows that cannot be without it go with it, others no longer refer to it."""
    for child, columns in CHILDREN.get(table, []):
        where = " AND ".join(f"{name} = ?" for name in columns)
        values = [row[target] for target in columns.values()]
        for one in user.run(f"SELECT * FROM {child} WHERE {where}", *values):
            fixed = any(name in KEYS.get(child, ()) or (child, name) in NEEDED for name in columns)
            if fixed:
                remove_row(user, child, one)
            else:
                user.update(child, one, **dict.fromkeys(columns))
    user.delete(table, row)


ACTIONS: list[tuple[Callable[[User, str], None], int]] = [
    (add_row, 6), (edit, 6), (move, 5), (exchange, 2), (rename, 1), (remove, 2),
]  # fmt: skip


def work(user: User, times: int) -> None:
    """Edits by chance."""
    kinds, weights = zip(*ACTIONS, strict=True)
    if user.careless:
        weights = tuple(0 if one in {exchange, rename} else many for one, many in ACTIONS)
    for _ in range(times):
        action = user.chance.choices(kinds, weights)[0]
        table = user.chance.choice(TABLES)
        action(user, table)
        user.done[action.__name__] += 1
