"""Protocols without I/O: bytes in, events out (and the other way round). No clock, no policy, no sockets."""
