"""What is quick to learn with."""

SMALL = dict(channels=2, patch=48, batch=2, threads=1)
