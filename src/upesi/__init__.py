"""Upesi: a mail transfer agent. Nothing happens at import; `upesi.plugin` is what plugin authors import."""

__version__ = "0.1.0"

__all__ = ["__version__"]
