"""Adapters of the users' own data, one kind a module, behind ``datasets.base``."""
