"""Two-way synchronization of datasets between sites whose only link is e-mail."""
