"""Cards and schedules on a CardDAV or CalDAV server, from HTTP up to the dataset."""
