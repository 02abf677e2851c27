"""``python -m mailsync`` is the command ``mailsync``."""

from __future__ import annotations

from mailsync.cli import main

main(prog_name="mailsync")
