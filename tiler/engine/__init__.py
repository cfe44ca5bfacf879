"""Tiles in motion: pure functions on one tile, the store that holds their state, and the scheduler that runs them."""
