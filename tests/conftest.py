"""Fixtures every test may use."""

from tests.servers.databases import mariadb, postgresql
from tests.servers.dav import radicale, xandikos
from tests.servers.mail import mail_server

__all__ = ["mail_server", "mariadb", "postgresql", "radicale", "xandikos"]
