"""All that a plugin author imports."""

from upesi.hooks.session import Client, Result, Session, Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind, accept, defer, reject

__all__ = [
    "Client",
    "Result",
    "Session",
    "Transaction",
    "TransactionRecipient",
    "Verdict",
    "VerdictKind",
    "accept",
    "defer",
    "reject",
]
