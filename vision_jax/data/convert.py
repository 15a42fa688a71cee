"""Turns a TFRecord data set that TFDS prepared into array_record, without TensorFlow:

    python -m vision_jax.data.convert TFRECORD_DIR OUT_DIR

TFRECORD_DIR is a version folder, such as ~/tensorflow_datasets/cifar10/3.0.2, and OUT_DIR the one
to make. Every record's length and checksum is checked; OUT_DIR appears only when it is complete.
"""

import argparse
import functools
import json
import os
import re
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vision_jax.config import CommandLine, UserError
from vision_jax.system import disk, output

_SHARD = re.compile(r"^(.+)-([^-.]+)\.tfrecord-(\d{5})-of-(\d{5})$")
_CRC_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected: RFC 3720, appendix B.4
_LANE = 16  # bytes of a record that one lane of the vectorised checksum takes


def convert(source: str | os.PathLike, out: str | os.PathLike) -> int:
    """Writes a TFRecord version folder's records into an array_record version folder.

    Args:
      source: the folder that holds dataset_info.json, features.json and the .tfrecord shards.
      out: the folder to make; it must not exist, or be empty.

    Returns:
      The number of records.

    Raises:
      UserError: `source` is no such folder or lacks a shard, a record is cut short or damaged, or
        `out` is there already. Nothing is left at `out` then.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser().absolute()
    info = _read_info(source)
    shards = _list_shards(source, info)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already; remove it or name another folder")
    disk.make_folder(out.parent)
    partial = Path(tempfile.mkdtemp(prefix="incomplete.", suffix=f"_{out.name}", dir=out.parent))
    try:
        total, said = 0, time.monotonic()
        for done, (path, target, expected) in enumerate(shards):
            total += _convert_shard(path, partial / target, expected)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{done + 1} of {len(shards)} shards, {total} records", flush=True)
        for path in source.iterdir():
            if path.suffix in (".json", ".txt") and path.name != "dataset_info.json":
                shutil.copyfile(path, partial / path.name)
        info["fileFormat"] = "array_record"
        (partial / "dataset_info.json").write_text(json.dumps(info, indent=2))
        partial.chmod(0o755)  # mkdtemp makes it private
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return total


def _read_info(source: Path) -> dict[str, Any]:
    """Reads dataset_info.json; raises UserError where the folder holds no TFRecord data set."""
    for name in ("dataset_info.json", "features.json"):
        if not (source / name).is_file():
            raise UserError(
                f"{source} has no {name}; name the version folder, such as cifar10/3.0.2"
            )
    try:
        info = json.loads((source / "dataset_info.json").read_text())
    except ValueError as error:
        raise UserError(f"{source / 'dataset_info.json'} is not JSON: {error}") from error
    splits = info.get("splits", []) if isinstance(info, dict) else None
    if not isinstance(splits, list) or not all(map(_is_split, splits)):
        raise UserError(f"{source / 'dataset_info.json'} lacks what TFDS wrote; copy it again")
    # TFDS wrote only TFRecord before it wrote the format down.
    if info.get("fileFormat", "tfrecord") != "tfrecord":
        raise UserError(f"{source} holds {info['fileFormat']}, not tfrecord; nothing to convert")
    return info


def _is_split(split: Any) -> bool:
    """Returns whether an entry of `splits` has a name and the shards' numbers of records."""
    if not isinstance(split, dict) or not isinstance(split.get("name"), str):
        return False
    lengths = split.get("shardLengths")
    return isinstance(lengths, list) and all(str(length).isdigit() for length in lengths)


def _list_shards(source: Path, info: dict[str, Any]) -> list[tuple[Path, str, int]]:
    """Returns (file, new name, number of records) of every shard that the info file promises."""
    files: dict[tuple[str, int], tuple[Path, str]] = {}
    for path in sorted(source.iterdir()):
        if match := _SHARD.match(path.name):
            name, split, shard, count = match.groups()
            new = f"{name}-{split}.array_record-{shard}-of-{count}"
            files[split, int(shard)] = path, new
    shards = []
    for split in info.get("splits", []):
        for shard, length in enumerate(split["shardLengths"]):
            if (split["name"], shard) not in files:
                raise UserError(f"{source} lacks shard {shard} of split {split['name']!r}")
            shards.append((*files[split["name"], shard], int(length)))
    if not shards:
        raise UserError(f"{source / 'dataset_info.json'} names no splits; was it ever prepared?")
    return shards


def _convert_shard(path: Path, target: Path, expected: int) -> int:
    """Writes one shard's records to `target`, and returns their number."""
    # The first import takes a while and needs Linux: not before the input has been looked at.
    from array_record.python.array_record_module import ArrayRecordWriter

    count = 0
    writer = ArrayRecordWriter(str(target), "group_size:1")  # one record per read, as TFDS writes
    try:
        for record in read_tfrecord(path):
            writer.write(record)
            count += 1
    finally:
        writer.close()
    if count != expected:
        raise UserError(f"{path} holds {count} records, dataset_info.json says {expected}")
    return count


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: u64 length, u32 its checksum, data, u32 its checksum.

    Raises:
      UserError: the file is cut short, or a checksum does not fit.
    """
    with open(path, "rb") as file:
        for number in range(sys.maxsize):
            header = file.read(12)
            if not header:
                return
            length, check = struct.unpack("<QI", header.ljust(12, b"\0"))
            if len(header) < 12 or masked_crc(header[:8]) != check:
                raise UserError(_damage(path, number, "header", len(header) < 12))
            body = file.read(length + 4)
            if len(body) < length + 4:
                raise UserError(_damage(path, number, "data", True))
            if masked_crc(body[:length]) != struct.unpack("<I", body[length:])[0]:
                raise UserError(_damage(path, number, "data", False))
            yield body[:length]


def _damage(path: Path, number: int, part: str, short: bool) -> str:
    """Says what is wrong with a record, and what to do."""
    defect = "is cut short" if short else "does not fit its checksum"
    return f"{path}: the {part} of record {number} {defect}; copy or prepare the file again"


def masked_crc(data: bytes) -> int:
    """Computes TFRecord's checksum: CRC-32C, rotated and offset so that it may be checksummed."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Computes CRC-32C by numpy: lanes of a few bytes side by side, then joined two by two.

    A CRC that starts from zero is linear and blind to leading zeros, so
    crc(a + b) = advance(crc(a), len(b)) ^ crc(b), and the front may be padded.
    """
    # Starting from all ones equals inverting the first four bytes; shorter data goes by the loop.
    if len(data) < 4:
        crc = 0xFFFFFFFF
        for byte in data:
            crc = int(_byte_table()[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
        return crc ^ 0xFFFFFFFF
    lanes = -(-len(data) // _LANE)
    padded = np.zeros(lanes * _LANE, np.uint8)
    start = len(padded) - len(data)
    padded[start:] = np.frombuffer(data, np.uint8)
    padded[start : start + 4] ^= 0xFF
    state: np.ndarray = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, _LANE).T):
        state = _byte_table()[(state ^ column) & 0xFF] ^ (state >> 8)
    level = 0
    while len(state) > 1:
        if len(state) % 2:
            state = np.concatenate([np.zeros(1, np.uint32), state])
        state = _advance(state[::2], level) ^ state[1::2]
        level += 1
    return int(state[0]) ^ 0xFFFFFFFF


@functools.cache
def _byte_table() -> np.ndarray:
    """Returns (256,): the CRC of each byte."""
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(_CRC_POLYNOMIAL), np.uint32(0))
    return table


def _advance(state: np.ndarray, level: int) -> np.ndarray:
    """Returns the CRC after _LANE * 2**level further zero bytes."""
    tables = _advance_tables(level)
    parts = [tables[k][(state >> np.uint32(8 * k)) & 0xFF] for k in range(4)]
    return parts[0] ^ parts[1] ^ parts[2] ^ parts[3]


@functools.cache
def _advance_tables(level: int) -> np.ndarray:
    """Returns (4, 256): the states that each value of each byte of the state turns into."""
    if level:
        return _advance(_advance_tables(level - 1), level - 1)
    state = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    for _ in range(_LANE):
        state = _byte_table()[state & 0xFF] ^ (state >> 8)
    return state


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = CommandLine(prog="python -m vision_jax.data.convert", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("tfrecord_dir", metavar="TFRECORD_DIR")
    parser.add_argument("out_dir", metavar="OUT_DIR")
    try:
        chosen = parser.parse_args(arguments)
        with disk.used(chosen.out_dir):
            count = convert(chosen.tfrecord_dir, chosen.out_dir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    print(f"{count} records in {chosen.out_dir}")
    return 0


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main())
