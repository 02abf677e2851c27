"""Fixtures every test may use, and how generated examples are run."""

from hypothesis import HealthCheck, settings

from tests.servers.databases import mariadb, postgresql
from tests.servers.dav import radicale, xandikos
from tests.servers.mail import mail_server

__all__ = ["mail_server", "mariadb", "postgresql", "radicale", "xandikos"]

# how long an example takes says more of the machine than of the code
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")
