"""The tables of the spool on SQLite, and which version of them this program reads.

    message    what was accepted, once; its row number is that of its first delivery
    delivery   what is still to be done; ACTIVE rows name the epoch of the worker that holds them
    queue      the upper level of the index: counts and the first due time for each key
    event      the durable history, exported by position
    member     workers that live now; shard: which of them owns which slice of the queues
    damaged_*  quarantine: rows whose checksum failed, as they were found
    suspect    deliveries that were ACTIVE in workers that hung or crashed, with what that weighs: `suspects`

The hot path (born ACTIVE, completed at once) touches three small index pages for a whole batch: `delivery_waiting` and
`delivery_expiry` leave out rows that are in a worker's memory, `delivery_active` holds only those. `queue.next_due` is never later than
the truth: whoever claims corrects it.
"""

from __future__ import annotations

from upesi.database.sqlite import Database
from upesi.spool.records import SHARDS
from upesi.spool.store import SpoolError

__all__ = ["DATABASE_NAME", "DELIVERY", "EVENT", "MESSAGE", "VERSION", "check_version", "complete", "create"]

DATABASE_NAME = "spool.db"

# Raised whenever an older program would misread what a newer one wrote. Downgrades are refused, never guessed at (STO-13).
VERSION = 1

# "UPES": `file spool.db` names it, and no other program's database is taken for a spool
_APPLICATION_ID = 0x55504553

MESSAGE = "message(row, id, meta, prefix, body, sum)"
DELIVERY = "delivery(id, message, mrow, queue, state, waits, epoch, due, expires, received, attempts, size, file, sender, data, sum)"
EVENT = "event(at, kind, message, fields)"

_MESSAGE_COLUMNS = "row INTEGER PRIMARY KEY, id BLOB NOT NULL, meta BLOB NOT NULL, prefix BLOB NOT NULL, body BLOB, sum INTEGER NOT NULL"
_DELIVERY_COLUMNS = """
    id INTEGER PRIMARY KEY,
    message BLOB NOT NULL,
    mrow INTEGER NOT NULL,
    queue TEXT NOT NULL,
    state INTEGER NOT NULL,
    waits INTEGER NOT NULL,    -- the state it returns to when it is given back: ROUTING or READY
    epoch INTEGER NOT NULL,    -- who holds it while it is ACTIVE, else 0
    due REAL NOT NULL,
    expires REAL NOT NULL,
    received REAL NOT NULL,
    attempts INTEGER NOT NULL,
    size INTEGER NOT NULL,     -- prefix and body, octets
    file INTEGER NOT NULL,     -- 1 where the body is a file
    sender TEXT NOT NULL,      -- for selectors; what counts is in the message
    data BLOB NOT NULL,        -- recipients, route, last outcome: rows.py
    sum INTEGER NOT NULL"""

_TABLES = f"""
CREATE TABLE message({_MESSAGE_COLUMNS});
CREATE TABLE delivery({_DELIVERY_COLUMNS});
CREATE INDEX delivery_message ON delivery(message);
CREATE INDEX delivery_waiting ON delivery(queue, due) WHERE state < 2;
CREATE INDEX delivery_active ON delivery(epoch, id) WHERE state = 2;
CREATE TABLE queue(
    key TEXT PRIMARY KEY,
    shard INTEGER NOT NULL,
    next_due REAL,
    routing INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    active INTEGER NOT NULL,
    held INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queue_due ON queue(shard, next_due) WHERE next_due IS NOT NULL;
CREATE TABLE event(position INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, message BLOB NOT NULL, fields BLOB NOT NULL);
CREATE INDEX event_message ON event(message);
CREATE TABLE member(epoch INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, started REAL NOT NULL);
CREATE TABLE shard(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL);
CREATE TABLE instance(id TEXT NOT NULL, created REAL NOT NULL);
"""

# What came after the first layout, and misleads no program of this version that does not know it: made at every start where it is missing
_ADDED = (
    "CREATE INDEX IF NOT EXISTS delivery_expiry ON delivery(expires) WHERE state < 2",
    "CREATE TABLE IF NOT EXISTS suspect(delivery INTEGER PRIMARY KEY, weight INTEGER NOT NULL)",
)

# Without NOT NULL: one flipped octet makes a column NULL that never may be, and a row that cannot be set aside stops its queue for ever
_DAMAGED = {
    name: f"CREATE TABLE {name}(at REAL NOT NULL, reason TEXT NOT NULL, {columns.replace(' PRIMARY KEY', '').replace(' NOT NULL', '')})"
    for name, columns in (("damaged_message", _MESSAGE_COLUMNS), ("damaged_delivery", _DELIVERY_COLUMNS))
}


def create(database: Database, instance: str, now: float) -> None:
    """Lay out an empty spool, all or nothing."""
    with database.transaction():
        for statement in _TABLES.split(";\n"):
            if statement.strip():
                database.run(statement)
        database.insert("shard(id, owner)", [(shard, 0) for shard in range(SHARDS)])
        database.run("INSERT INTO instance VALUES (?, ?)", instance, now)
        database.run(f"PRAGMA application_id={_APPLICATION_ID}")
        database.run(f"PRAGMA user_version={VERSION}")
        complete(database)


def complete(database: Database) -> None:
    """Make what an older program of the same version did not make; does nothing where it is all there."""
    for statement in _ADDED:
        database.run(statement)
    for table, statement in _DAMAGED.items():
        _make_lenient(database, table, statement)


def _make_lenient(database: Database, table: str, statement: str) -> None:
    """Make a table of quarantine, or make it anew with what it holds where an older program made it stricter than it may be."""
    strict = database.value('SELECT sum("notnull") FROM pragma_table_info(?)', table)
    if strict is None:
        database.run(statement)
    elif strict != 2:
        # all or nothing, also inside the transaction of `create`
        database.run("SAVEPOINT lenient")
        database.run(f"ALTER TABLE {table} RENAME TO strict_{table}")
        database.run(statement)
        database.run(f"INSERT INTO {table} SELECT * FROM strict_{table}")
        database.run(f"DROP TABLE strict_{table}")
        database.run("RELEASE lenient")


def check_version(database: Database) -> None:
    """Raise SpoolError, saying what was found, unless this is a spool that this program can read."""
    application = database.number("PRAGMA application_id")
    if application != _APPLICATION_ID:
        raise SpoolError(f"{database.path} is not a spool of this program (application id {application:#x})")
    version = database.number("PRAGMA user_version")
    if version != VERSION:
        raise SpoolError(
            f"{database.path} has format version {version}; this program reads version {VERSION}. Nothing has been changed: "
            "use the program that wrote it, or migrate it first."
        )
