"""The daemon: cycles on schedule, woken by mail, stopped at once."""
