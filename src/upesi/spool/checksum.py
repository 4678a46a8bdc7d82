"""The CRC-32 of a file whose beginning has changed, without reading the rest of it.

A CRC is linear: with D the exclusive or of old and new octets, crc(new) ^ crc(old) depends on D alone, and D is zero behind the
change. So the difference of the two beginnings' checksums is carried over the octets behind them, as a product in the field of
polynomials over GF(2) modulo the CRC's own (the way of zlib's crc32_combine). Reading 25 MB would hold up the event loop for 25 ms.
"""

from __future__ import annotations

from zlib import crc32

__all__ = ["crc_of_changed"]

# the polynomial of CRC-32, bits reversed: the highest bit is the coefficient of x^0
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
# x^8: one octet further
_OCTET = 1 << 23


def crc_of_changed(sum: int, old: bytes, new: bytes, size: int) -> int:
    """Return the CRC-32 of `size` octets whose CRC-32 was `sum` and which now begin with `new` instead of `old`, of the same length."""
    return sum ^ _product(_power(_OCTET, size - len(new)), crc32(old) ^ crc32(new))


def _product(a: int, b: int) -> int:
    """Multiply two polynomials modulo the CRC's."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _power(base: int, exponent: int) -> int:
    """Raise a polynomial to a power modulo the CRC's."""
    power = _ONE
    while exponent:
        if exponent & 1:
            power = _product(power, base)
        base = _product(base, base)
        exponent >>= 1
    return power
