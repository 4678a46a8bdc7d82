"""Typed settings of every section, loading, validation, and the generated reference."""
