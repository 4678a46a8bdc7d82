"""DATA and BDAT (RFC 5321 section 4.1.1.4, RFC 3030): the octets of a message, on their way into a body.

What goes wrong in the midst of data is remembered in `engine.fault` and said when the client has finished.
"""

from __future__ import annotations

from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import BdatCommand, ChunkEnd, DataChunk, DataCommand, DataEnd
from upesi.session import replies
from upesi.session.answers import Answer
from upesi.session.engine import SessionEngine, spool_reply
from upesi.session.listening import ListenedWriter
from upesi.session.message import complete, drop, refuse
from upesi.spool.store import SpoolError

__all__ = ["bdat", "chunk", "chunk_end", "data", "data_end"]


def data(engine: SessionEngine, _: DataCommand) -> Answer:
    """Ask for the message."""
    tx = engine.session.transaction
    if tx is None or engine.improper:
        return replies.BAD_SEQUENCE
    if not tx.recipients:
        return replies.NO_RECIPIENTS
    return engine.ask(engine.context.hooks.data, _begin_data, None)


def _begin_data(engine: SessionEngine, _: None, opinion: Verdict | None) -> Answer:
    refusal = None if opinion is None else engine.refusal(opinion)
    reply = engine.out_of_turn("DATA") or refusal or _open(engine)
    if reply is not None:
        return reply
    engine.improper = 0
    return replies.START_DATA


def _open(engine: SessionEngine) -> Reply | None:
    try:
        engine.writer = engine.context.intake.body_writer()
        tx = engine.session.transaction
        if tx is not None and tx.listeners:
            engine.writer = ListenedWriter(engine.writer, tx.listeners, engine.context.emit)
    except SpoolError as error:
        return spool_reply(error)
    engine.receiving = True
    return None


def bdat(engine: SessionEngine, command: BdatCommand) -> Answer:
    """Begin a chunk. No reply: the client sends on, whatever we think; `chunk_end` answers."""
    tx = engine.session.transaction
    engine.receiving = True
    if engine.writer is not None or engine.fault is not None:
        return None
    if tx is None or engine.improper or not tx.recipients:
        engine.fault = replies.NO_RECIPIENTS if tx is not None and not engine.improper else replies.BAD_SEQUENCE
        return None
    return engine.ask(engine.context.hooks.data, _begin_chunks, None)


def _begin_chunks(engine: SessionEngine, _: None, opinion: Verdict | None) -> Answer:
    engine.fault = engine.refusal(opinion) or _open(engine)
    return None


def chunk(engine: SessionEngine, event: DataChunk) -> Answer:
    """Take some octets."""
    engine.octets += len(event.data)
    writer = engine.writer
    if writer is not None:
        try:
            writer.write(event.data)
        except SpoolError as error:
            engine.fault = spool_reply(error)
            engine.writer = None
            writer.discard()
    return None


def data_end(engine: SessionEngine, event: DataEnd) -> Answer:
    """End the message."""
    engine.receiving = False
    fault = event.fault or engine.fault
    return complete(engine, event.size) if fault is None else refuse(engine, fault, event.size)


def chunk_end(engine: SessionEngine, event: ChunkEnd) -> Answer:
    """End a chunk, and with LAST the message."""
    engine.receiving = False
    fault = event.fault or engine.fault
    if fault is not None:
        # RFC 3030 section 2: the failed message is gone; what the client sends until RSET or MAIL belongs to nothing
        # LMTP's replies for each recipient belong to the last chunk only (RFC 2033 section 4.3): the others get one
        return refuse(engine, fault, event.size) if event.last else drop(engine, fault, event.size)
    return complete(engine, event.size) if event.last else replies.CHUNK_OK
