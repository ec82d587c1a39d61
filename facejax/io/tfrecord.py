"""TFRecord files and `tf.train.Example` messages, read and written without TensorFlow.

A record is a little-endian u64 length, its masked CRC-32C, the payload, and the payload's masked
CRC-32C. An Example is a protobuf: Example{1: Features{1: map entries {1: key, 2: Feature}}} with
Feature{1: BytesList | 2: FloatList | 3: Int64List} and lists {1: values}.
"""

import functools
import os
import pathlib
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from facejax.host.files import atomic_path
from facejax.io.protobuf import delimited, fields, read_varint, varint

HEADER_BYTES, FOOTER_BYTES = 12, 4


class CorruptRecordError(ValueError):
    """A record that does not match its checksum or its length."""


# --- CRC-32C ------------------------------------------------------------------------------------


@functools.cache
def _byte_table() -> np.ndarray:
    """[256] uint32: the register after one byte, for the reflected Castagnoli polynomial."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table


def _apply(operator: np.ndarray, register: np.ndarray) -> np.ndarray:
    """A linear map of registers given by its values on each byte, [4, 256] uint32."""
    out = operator[0][register & 255]
    for k in range(1, 4):
        out = out ^ operator[k][(register >> np.uint32(8 * k)) & 255]
    return out


@functools.cache
def _zeros_operator(log2_bytes: int) -> np.ndarray:
    """What 2^log2_bytes zero bytes do to the register, as a [4, 256] uint32 table."""
    if log2_bytes:
        half = _zeros_operator(log2_bytes - 1)
        return _apply(half, half)
    register = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32)[:, None])
    return _byte_table()[register & 255] ^ (register >> np.uint32(8))


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of any bytes.

    The register is linear over GF(2): many blocks are run side by side by numpy, then joined
    pairwise. Zero bytes in front of a message do not change a register that starts at zero, and
    the standard start value is the same as inverting the first four bytes.

    Args:
      data: any length.
    """
    table = _byte_table()
    message = np.frombuffer(data, np.uint8)
    if len(message) < 64:
        register = 0xFFFFFFFF
        for byte in message.tolist():
            register = int(table[(register ^ byte) & 255]) ^ (register >> 8)
        return register ^ 0xFFFFFFFF
    log2_lanes = max(0, (len(message).bit_length() - 1) // 2)
    lanes = 1 << log2_lanes
    log2_block = max(0, (-(-len(message) // lanes) - 1).bit_length())
    padded = np.zeros(lanes << log2_block, np.uint8)
    padded[len(padded) - len(message) :] = message
    padded[len(padded) - len(message) :][:4] ^= 255
    columns = np.ascontiguousarray(padded.reshape(lanes, -1).T)
    register = np.zeros(lanes, np.uint32)
    for column in columns:
        register = table[(register ^ column) & 255] ^ (register >> np.uint32(8))
    while len(register) > 1:  # crc(a b) = zeros_|b|(crc(a)) xor crc(b)
        register = _apply(_zeros_operator(log2_block), register[0::2]) ^ register[1::2]
        log2_block += 1
    return int(register[0]) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum that records store: rotated by 15 bits and offset."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# --- Framing ------------------------------------------------------------------------------------


def _read_header(file: Any, path: pathlib.Path, offset: int, check_crc: bool) -> int | None:
    """The length of the record at `offset`, or None at the end of the file."""
    header = file.read(HEADER_BYTES)
    if not header:
        return None
    if len(header) < HEADER_BYTES:
        raise CorruptRecordError(
            f"{path}: truncated header at byte {offset}: found {len(header)} bytes, wanted "
            f"{HEADER_BYTES}"
        )
    if check_crc and masked_crc32c(header[:8]) != struct.unpack("<I", header[8:])[0]:
        raise CorruptRecordError(
            f"{path}: damaged record length at byte {offset} (checksum differs): everything from "
            "here on is unreadable; is this a TFRecord file?"
        )
    return struct.unpack("<Q", header[:8])[0]


def _check_payload(path: pathlib.Path, offset: int, payload: bytes, footer: bytes) -> None:
    if masked_crc32c(payload) != struct.unpack("<I", footer)[0]:
        raise CorruptRecordError(
            f"{path}: damaged record at byte {offset} ({len(payload)} bytes of payload, checksum "
            "differs): copy the file again, or leave it out with skip_corrupt"
        )


def scan_records(
    path: str | os.PathLike, check_crc: bool = True, skip_corrupt: bool = False
) -> list[tuple[int, int]]:
    """Where the records of a file lie, without reading their payloads.

    Args:
      path: a TFRecord file.
      check_crc: check the checksums of the lengths.
      skip_corrupt: end, with a warning, at a damaged length or a truncated record.

    Returns:
      (offset of the payload, bytes of the payload) per record.

    Raises:
      CorruptRecordError: names the file and the byte offset.
    """
    path = pathlib.Path(path)
    size, offset, found = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while True:
            try:
                length = _read_header(file, path, offset, check_crc)
                if length is None:
                    break
                end = offset + HEADER_BYTES + length + FOOTER_BYTES
                if end > size:
                    raise CorruptRecordError(
                        f"{path}: truncated record at byte {offset}: the file has {size} bytes, "
                        f"wanted {end}"
                    )
            except CorruptRecordError as error:
                if not skip_corrupt:
                    raise
                warnings.warn(f"the rest is skipped: {error}", stacklevel=2)
                break
            found.append((offset + HEADER_BYTES, length))
            file.seek(end)
            offset = end
    return found


def read_record(path: str | os.PathLike, span: tuple[int, int], check_crc: bool = True) -> bytes:
    """The payload of one record.

    Args:
      path: a TFRecord file.
      span: of the payload, from `scan_records`.
      check_crc: compare the checksum.

    Raises:
      CorruptRecordError: names the file and the byte offset.
    """
    path, (offset, length) = pathlib.Path(path), span
    with path.open("rb") as file:  # a handle per call: sources are read from several threads
        file.seek(offset)
        payload, footer = file.read(length), file.read(FOOTER_BYTES)
    if len(payload) + len(footer) != length + FOOTER_BYTES:
        raise CorruptRecordError(
            f"{path}: truncated record at byte {offset - HEADER_BYTES}: the file was cut while in "
            "use"
        )
    if check_crc:
        _check_payload(path, offset - HEADER_BYTES, payload, footer)
    return payload


def read_records(
    path: str | os.PathLike, check_crc: bool = True, skip_corrupt: bool = False
) -> Iterator[bytes]:
    """The payloads of a TFRecord file, in order.

    Args:
      path: the file.
      check_crc: compare checksums.
      skip_corrupt: leave out records whose payload is damaged, with a warning, and end at a
        truncated one. A damaged length is always an error: nothing after it can be found.

    Raises:
      CorruptRecordError: names the file and the byte offset.
    """
    path, offset = pathlib.Path(path), 0
    with path.open("rb") as file:
        while (length := _read_header(file, path, offset, check_crc)) is not None:
            wanted = length + FOOTER_BYTES
            left = path.stat().st_size - offset - HEADER_BYTES
            problem = None
            if left < wanted:
                problem = CorruptRecordError(
                    f"{path}: truncated record at byte {offset}: found {left} bytes, wanted "
                    f"{wanted}"
                )
                payload = None
            else:
                payload, footer = file.read(length), file.read(FOOTER_BYTES)
                if check_crc:
                    try:
                        _check_payload(path, offset, payload, footer)
                    except CorruptRecordError as error:
                        problem = error
            if problem is None:
                yield payload
            elif not skip_corrupt:
                raise problem
            else:
                warnings.warn(f"skipped: {problem}", stacklevel=2)
                if payload is None:
                    return
            offset += HEADER_BYTES + wanted


def write_record(file: Any, payload: bytes) -> None:
    """Appends one record to a binary file."""
    length = struct.pack("<Q", len(payload))
    file.write(length + struct.pack("<I", masked_crc32c(length)))
    file.write(payload)
    file.write(struct.pack("<I", masked_crc32c(payload)))


def write_records(path: str | os.PathLike, payloads: Iterable[bytes]) -> None:
    """Writes a TFRecord file; it appears whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for payload in payloads:
            write_record(file, payload)


# --- Example messages ---------------------------------------------------------------------------


def _int64s(data: memoryview) -> np.ndarray:
    values: list[int] = []
    for number, wire, value in fields(data):
        if number != 1 or wire not in (0, 2):
            raise ValueError("not an Int64List")
        if wire == 0:
            values.append(value)
        else:  # packed
            at = 0
            while at < len(value):
                one, at = read_varint(value, at)
                values.append(one)
    return np.array([v & 0xFFFFFFFFFFFFFFFF for v in values], np.uint64).astype(np.int64)


def _floats(data: memoryview) -> np.ndarray:
    parts = []
    for number, wire, value in fields(data):
        if number != 1 or wire not in (2, 5) or len(value) % 4:
            raise ValueError("not a FloatList")
        parts.append(bytes(value))
    return np.frombuffer(b"".join(parts), "<f4")


def parse_example(payload: bytes) -> dict[str, list[memoryview] | np.ndarray]:
    """The features of a `tf.train.Example`.

    Args:
      payload: the serialised message.

    Returns:
      {key: list of memoryviews into the payload, float32 [N] or int64 [N]}.

    Raises:
      ValueError: the payload is not an Example.
    """
    out: dict[str, list[memoryview] | np.ndarray] = {}
    try:
        for number, wire, features in fields(memoryview(payload)):
            if (number, wire) != (1, 2):
                raise ValueError(f"unexpected field {number}")
            for _, _, entry in fields(features):
                pair = {n: v for n, _, v in fields(entry)}
                key = bytes(pair[1]).decode()
                out[key] = []
                for kind, _, values in fields(pair.get(2, memoryview(b""))):
                    if kind == 1:
                        out[key] = [value for _, _, value in fields(values)]
                    else:
                        out[key] = {2: _floats, 3: _int64s}[kind](values)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a tf.train.Example ({len(payload)} bytes): {error}") from error
    return out


def write_example(features: Mapping[str, Sequence[bytes] | np.ndarray]) -> bytes:
    """Serialises a `tf.train.Example`.

    Args:
      features: {key: list of bytes, floating array [N], or integer array [N]}; the keys are
        written in the given order.
    """
    entries = b""
    for key, values in features.items():
        if not isinstance(values, np.ndarray):
            feature = delimited(1, b"".join(delimited(1, bytes(v)) for v in values))
        elif np.issubdtype(values.dtype, np.floating):
            feature = delimited(2, delimited(1, values.astype("<f4").tobytes()))
        else:
            ints = b"".join(varint(v & 0xFFFFFFFFFFFFFFFF) for v in values.tolist())
            feature = delimited(3, delimited(1, ints))
        entries += delimited(1, delimited(1, key.encode()) + delimited(2, feature))
    return delimited(1, entries)
