"""Durable acceptance, and the record of what is still to be delivered (QUEUE.md)."""
