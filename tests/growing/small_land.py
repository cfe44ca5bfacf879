"""What is quick to learn with."""

SMALL = dict(channels=2, patch=64, batch=2, threads=1)
