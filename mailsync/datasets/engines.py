"""The database engines that tables are read from; nothing of them is loaded for that."""

from __future__ import annotations

from typing import Final

ENGINES: Final = (
    "sqlite:///FILE",
    "postgresql+psycopg://USER@HOST/DATABASE",
    "mariadb://USER@HOST/DATABASE",
    "mariadb+mysqldb://USER@HOST/DATABASE",
    "mariadb+pymysql://USER@HOST/DATABASE",
)
"""How their URLs are written as sources."""

EVERY_COLUMN: Final = ("*",)
"""A ``key`` that says: nothing less than the whole row tells it apart."""
