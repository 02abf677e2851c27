"""The checks of ``mailsync doctor``, each a small function that yields findings."""
