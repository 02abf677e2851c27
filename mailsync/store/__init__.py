"""The state store: record map, links, outbox, inbox, journal."""
