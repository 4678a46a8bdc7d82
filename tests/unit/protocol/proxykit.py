"""Builds PROXY headers of version 2 by the specification, right ones and wrong ones."""

from ipaddress import ip_address

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def tlv(kind: int, value: bytes) -> bytes:
    """One TLV."""
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def tls(*, client: int = 1, verify: int = 0, **texts: str) -> bytes:
    """The TLV about TLS."""
    kinds = {"version": 0x21, "cn": 0x22, "cipher": 0x23}
    inner = b"".join(tlv(kinds[name], text.encode()) for name, text in texts.items())
    return tlv(0x20, bytes([client]) + verify.to_bytes(4, "big") + inner)


def v2(
    source: str = "192.0.2.1",
    destination: str = "198.51.100.2",
    ports: tuple[int, int] = (40000, 25),
    *tlvs: bytes,
    command: int = 0x21,
    family: int | None = None,
    addresses: bytes | None = None,
    length: int | None = None,
) -> bytes:
    """A header; what is not said follows from the addresses."""
    ends = [ip_address(source), ip_address(destination)]
    if addresses is None:
        addresses = b"".join(end.packed for end in ends) + b"".join(port.to_bytes(2, "big") for port in ports)
    body = addresses + b"".join(tlvs)
    kind = family if family is not None else 0x11 if ends[0].version == 4 else 0x21
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, kind]) + size.to_bytes(2, "big") + body
