"""Octets to text in the charsets that mail names, and nothing else that Python calls a codec.

The name comes from a stranger: `codecs.lookup` would import a module by it, keep it for ever, and offer codecs that take quadratic time
(idna, punycode) or are none of text (zlib, unicode_escape). So names are looked up in a closed set. Nothing here raises.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases

__all__ = ["codec_of", "decode"]

_LONGEST = 40
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_NAMES = """
ascii utf_8 utf_7 utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le latin_1 iso8859_2 iso8859_3 iso8859_4
iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 iso8859_10 iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16
cp437 cp720 cp737 cp775 cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869 cp874 cp932
cp949 cp950 cp1006 cp1125 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 koi8_r koi8_u koi8_t kz1048
ptcp154 mac_roman mac_cyrillic mac_greek mac_latin2 mac_turkish mac_iceland tis_620 hp_roman8 big5 big5hkscs gb2312
gbk gb18030 hz euc_jp euc_jis_2004 euc_jisx0213 euc_kr johab shift_jis shift_jis_2004 shift_jisx0213 iso2022_jp
iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext iso2022_kr
"""
_CODECS = frozenset(_NAMES.split())
# names that Python does not know, and charsets of which mail programs mean the larger one (as browsers read them)
_MEANT = {
    "ascii": "cp1252",
    "latin_1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x_gbk": "gb18030",
    "euc_kr": "cp949",
    "ks_c_5601": "cp949",
    "shift_jis": "cp932",
    "x_sjis": "cp932",
    "windows_31j": "cp932",
    "iso8859_9": "cp1254",
    "tis_620": "cp874",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "x_mac_roman": "mac_roman",
    "unicode_1_1_utf_7": "utf_7",
    "x_unknown": "utf_8",
    "unknown_8bit": "utf_8",
    "default": "utf_8",
}


def codec_of(charset: str) -> str | None:
    """Return the name of Python's codec for a charset of mail, None where there is none."""
    name = _SEPARATORS.sub("_", charset[:_LONGEST].strip().lower()).strip("_")
    name = aliases.get(name, name)
    # "iso_8859_15", "windows_1252", "cp_850": spellings that the aliases lack
    name = (
        name.replace("iso_8859_", "iso8859_").replace("windows_", "cp").replace("cp_", "cp")
        if name not in _MEANT
        else name
    )
    name = _MEANT.get(name, aliases.get(name, name))
    return name if name in _CODECS else None


def decode(octets: bytes, charset: str = "") -> str:
    """Return `octets` as text: in `charset`, or where that is unknown or wrong as UTF-8, or else as Windows-1252.

    Octets that stand for nothing become U+FFFD.
    """
    # much mail says ASCII, or nothing, and is UTF-8; and text in another charset hardly ever is UTF-8 by chance
    codec = codec_of(charset) if charset else None
    if codec in (None, "utf_8", "cp1252"):
        try:
            return octets.decode()
        except UnicodeDecodeError:
            codec = codec or "cp1252"
    try:
        return octets.decode(codec, "replace")
    except (UnicodeError, LookupError, ValueError):
        # utf_16 with half a character, a stateful codec that gives up
        return octets.decode("cp1252", "replace")
