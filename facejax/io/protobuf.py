"""The wire format of protocol buffers, read and written without generated code."""

from collections.abc import Iterator
from typing import Any


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """A variable-length integer: (value, the position behind it).

    Raises:
      ValueError: it does not end within the data or within 64 bits.
    """
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a damaged variable-length integer")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def signed(value: int) -> int:
    """What an int32 or int64 field means, whose negative numbers are stored modulo 2^64."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message, in order.

    Args:
      data: the message.

    Yields:
      (field number, wire type, value): an int for wire type 0, else a view into the data.

    Raises:
      ValueError: the data is no message.
    """
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = read_varint(data, at)
        elif wire in (1, 2, 5):
            size, at = read_varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            if at + size > len(data):
                raise ValueError(f"field {tag >> 3} wants {size} bytes, {len(data) - at} are left")
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"unknown wire type {wire}")
        yield tag >> 3, wire, value


def varint(value: int) -> bytes:
    """A non-negative integer as a variable-length one."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def delimited(number: int, content: bytes) -> bytes:
    """A field of wire type 2: text, bytes, a message or packed numbers."""
    return varint(number << 3 | 2) + varint(len(content)) + content
