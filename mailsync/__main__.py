"""``python -m mailsync`` is the command ``mailsync``."""

from __future__ import annotations

from mailsync.cli import main

if __name__ == "__main__":
    main(prog_name="mailsync")
