"""What brings bundles from site to site, behind ``carriers.base``."""
