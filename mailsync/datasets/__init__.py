"""Adapters of the users' own data, behind ``datasets.base``: a folder for each form of it.

``sql``: tables of databases. ``texts``: vCards and iCalendar in folders and files. ``dav``: the
same on a server. ``csvfile``: CSV files. Beside them stands what they share: the protocol, what a
section of the configuration means (``kinds``, ``mapping``), what a place offers (``discovery``).
"""
