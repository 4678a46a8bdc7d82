"""Typed settings of every section, loading, validation, and the generated reference."""

from upesi.config.loading import load
from upesi.config.problems import ConfigError, Problem
from upesi.config.settings import Config

__all__ = ["Config", "ConfigError", "Problem", "load"]
