"""Cards and schedules as texts: vCard and iCalendar, in a folder or in one file.

``contentline`` reads and writes the form that both share, ``formats`` says what a kind of text
offers, ``folder`` and ``onefile`` make datasets of it; ``vcard`` and ``ical`` are the two kinds.
"""
