"""The doctor: small checks of everything a site depends on, each failure with its fix."""
