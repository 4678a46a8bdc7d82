"""Small state that all workers of the machine share: exact counters in shared memory, and keys with a lifetime in SQLite."""
