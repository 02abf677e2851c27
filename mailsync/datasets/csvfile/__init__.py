"""CSV files: ``text`` knows cells and quotes, ``rows`` keys, ``dataset`` records."""
