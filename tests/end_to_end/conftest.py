"""Fixtures of the tests that run whole sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.exchange import Exchange, Template, make_exchange
from tests.servers.mail import MailServer


@pytest.fixture(scope="session")
def template(mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Two sites in sync, made once."""
    exchange = make_exchange(mail_server, tmp_path_factory.mktemp("template"))
    exchange.settle()
    exchange.assert_equal()
    return Template(exchange)


@pytest.fixture
def exchange(template: Template, tmp_path: Path) -> Exchange:
    """Two sites in sync: a table of 20 rows, one of 10, address book and schedule."""
    return template.copy(tmp_path)
