"""Two datasets that this machine can both reach, compared and made equal: no sites, no mail."""
