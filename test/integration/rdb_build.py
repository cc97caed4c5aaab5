"""Values in RDB's forms, those of old versions too, made from the format's description: payloads as
DUMP would have returned them."""

import struct

POLYNOMIAL = 0x95AC9329AC4BC9B5  # 0xad93d23594c935a9, bits reflected


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _crc_table()

(STRING, LIST, SET, ZSET, HASH, ZSET_2, MODULE, MODULE_2, _, HASH_ZIPMAP, LIST_ZIPLIST, SET_INTSET,
 ZSET_ZIPLIST, HASH_ZIPLIST, LIST_QUICKLIST, STREAM, HASH_LISTPACK, ZSET_LISTPACK,
 LIST_QUICKLIST_2, STREAM_2, SET_LISTPACK, STREAM_3, HASH_FIELDS_PRE, HASH_LISTPACK_EX_PRE,
 HASH_FIELDS, HASH_LISTPACK_EX) = range(26)


def crc64(data):
    crc = 0
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc


def payload(kind, body, version=11):
    data = bytes([kind]) + body + struct.pack("<H", version)
    return data + struct.pack("<Q", crc64(data))


def mended(data):
    """The payload with a checksum that fits."""
    return data[:-8] + struct.pack("<Q", crc64(data[:-8]))


def length(n):
    if n < 1 << 6:
        return bytes([n])
    if n < 1 << 14:
        return bytes([0x40 | n >> 8, n & 0xff])
    if n < 1 << 32:
        return b"\x80" + struct.pack(">I", n)
    return b"\x81" + struct.pack(">Q", n)


def string(s):
    return length(len(s)) + s


def strings(*items):
    return b"".join(map(string, items))


def _ziplist_entry(item):
    """Encoding and data; integers as narrow as they go."""
    if isinstance(item, int):
        if 0 <= item <= 12:
            return bytes([0xf1 + item])
        for code, size in ((0xfe, 1), (0xc0, 2), (0xf0, 3), (0xd0, 4), (0xe0, 8)):
            if -(1 << 8 * size - 1) <= item < 1 << 8 * size - 1:
                return bytes([code]) + item.to_bytes(size, "little", signed=True)
    if len(item) < 1 << 6:
        return bytes([len(item)]) + item
    if len(item) < 1 << 14:
        return bytes([0x40 | len(item) >> 8, len(item) & 0xff]) + item
    return b"\x80" + struct.pack(">I", len(item)) + item


def ziplist(*items):
    body, last, before = b"", 10, 0
    for item in items:
        last = 10 + len(body)
        head = bytes([before]) if before < 254 else b"\xfe" + struct.pack("<I", before)
        entry = head + _ziplist_entry(item)
        body += entry
        before = len(entry)
    return struct.pack("<IIH", 11 + len(body), last, min(len(items), 65535)) + body + b"\xff"


def zipmap(**pairs):
    def size(s):
        return bytes([len(s)]) if len(s) < 254 else b"\xfe" + struct.pack("<I", len(s))

    body = b"".join(size(f.encode()) + f.encode() + size(v) + b"\x02" + v + b"??"
                    for f, v in pairs.items())
    return bytes([min(len(pairs), 254)]) + body + b"\xff"


def intset(width, *members):
    return struct.pack("<II", width, len(members)) + b"".join(
        m.to_bytes(width, "little", signed=True) for m in members)


def _listpack_element(item):
    if isinstance(item, int):
        body = b"\xf4" + struct.pack("<q", item) if item < 0 or item > 127 else bytes([item])
    elif len(item) < 64:
        body = bytes([0x80 | len(item)]) + item
    elif len(item) < 4096:
        body = bytes([0xe0 | len(item) >> 8, len(item) & 0xff]) + item
    else:
        body = b"\xf0" + struct.pack("<I", len(item)) + item
    size, back = len(body), b""
    while not back or size:
        back = bytes([size & 127]) + back
        size >>= 7
    back = back[:1] + bytes(b | 128 for b in back[1:])
    return body + back


def listpack(*items):
    body = b"".join(map(_listpack_element, items))
    return struct.pack("<IH", 7 + len(body), min(len(items), 65535)) + body + b"\xff"
