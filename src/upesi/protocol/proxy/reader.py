"""Which version it is, and how far it has come: the one way into this room."""

from __future__ import annotations

from upesi.protocol.proxy.header import ProxyError, ProxyHeader
from upesi.protocol.proxy.v1 import V1_START, read_v1
from upesi.protocol.proxy.v2 import V2_START, read_v2

__all__ = ["ProxyReader"]


class ProxyReader:
    """Collects one header from segments of any size. Then `rest` is what came behind it.

    It holds no more than a header of the version in question and the segment that came last (`v1.MAX_V1`, `v2.MAX_V2`).
    """

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def receive(self, data: bytes) -> ProxyHeader | None:
        """Take octets; return the header once it is complete. Not to be called again then.

        Raises:
            ProxyError: this is no PROXY header, and cannot become one. Known at the first octet that shows it.
        """
        data = self._data = self._data + data
        if data.startswith(V1_START):
            found = read_v1(data)
        elif data.startswith(V2_START):
            found = read_v2(data)
        elif V1_START.startswith(data) or V2_START.startswith(data):
            return None
        else:
            raise ProxyError("no PROXY header")
        if found is None:
            return None
        header, length = found
        self._data = data[length:]
        return header

    @property
    def rest(self) -> bytes:
        """What came behind the header."""
        return self._data
