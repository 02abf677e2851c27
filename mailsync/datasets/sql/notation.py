"""How a section of the configuration writes databases and keys; no engine is loaded for it."""

from __future__ import annotations

from typing import Final

ENGINES: Final = (
    "sqlite:///FILE",
    "postgresql+psycopg://USER@HOST/DATABASE",
    "mariadb://USER@HOST/DATABASE",
    "mariadb+mysqldb://USER@HOST/DATABASE",
    "mariadb+pymysql://USER@HOST/DATABASE",
)
"""URLs of the engines that tables are read from, as a source writes them."""

EVERY_COLUMN: Final = ("*",)
"""A ``key`` that says: nothing less than the whole row tells it apart."""
