"""The whole server against real programs, over loopback."""
