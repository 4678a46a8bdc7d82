"""Fixtures of the store suite; what its tests call by name is in `store_world`."""

from store_world import engine, store

__all__ = ["engine", "store"]
