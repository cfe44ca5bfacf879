"""Many renders of one wish."""
