"""Shared settings. Machines that run tests are busy with other work, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("tiler", deadline=None, database=None)
settings.load_profile("tiler")
