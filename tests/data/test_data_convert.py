import json
import struct
from pathlib import Path

import no_tensorflow
import numpy as np
import pytest
import tensorflow_datasets as tfds

from vision_jax.config import UserError
from vision_jax.data import convert, shapes

CONVERT = """
import sys
from vision_jax.data import convert
code = convert.main(sys.argv[1:])
assert "tensorflow" not in sys.modules and "apache_beam" not in sys.modules
sys.exit(code)
"""


def slow_crc32c(data):
    """Bit by bit, from the definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = slow_crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(record):
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small data set in array_record, and a function that writes its TFRecord twin."""
    config = shapes.ShapesConfig(
        name="mini", look=shapes.Look(size=16), train=7, validation=3, image_format="png"
    )
    builder = shapes.Shapes(config=config, data_dir=tmp_path_factory.mktemp("data"))
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_path)


@pytest.fixture
def tfrecord(prepared, tmp_path):
    from array_record.python.array_record_module import ArrayRecordReader

    twin = tmp_path / "1.0.0"
    twin.mkdir()
    (twin / "features.json").write_text((prepared / "features.json").read_text())
    info = json.loads((prepared / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (twin / "dataset_info.json").write_text(json.dumps(info))
    for path in prepared.glob("*.array_record*"):
        reader = ArrayRecordReader(str(path))
        raw = reader.read(0, reader.num_records())
        reader.close()
        twin_file = twin / path.name.replace("array_record", "tfrecord")
        twin_file.write_bytes(b"".join(frame(record) for record in raw))
    return twin


def shard(folder):
    return folder / "shapes-train.tfrecord-00000-of-00001"


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


def test_round_trip_without_tensorflow(prepared, tfrecord, tmp_path):
    out = tmp_path / "out" / "1.0.0"
    code, text, errors = no_tensorflow.run(CONVERT, tfrecord, out)
    assert (code, errors) == (0, "") and text == f"10 records in {out}\n"
    for split, count in (("train", 7), ("validation", 3)):
        before = tfds.builder_from_directory(prepared).as_data_source(split)
        after = tfds.builder_from_directory(out).as_data_source(split)
        assert len(before) == len(after) == count
        assert all(same(before[i], after[i]) for i in range(count))
    assert sorted(p.name for p in out.parent.iterdir()) == ["1.0.0"]


def test_checksum_is_crc32c():
    assert convert.crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's CRC
    data = np.random.default_rng(0).bytes(5000)
    for length in [*range(70), 255, 256, 257, 4999]:
        assert convert.crc32c(data[:length]) == slow_crc32c(data[:length]), length


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def cut_in_header(path):
    path.write_bytes(path.read_bytes() + b"\x05\0\0")


def flip_in_data(path):
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data))


def flip_in_length(path):
    data = bytearray(path.read_bytes())
    data[7] ^= 0x40  # would ask for 2**62 bytes
    path.write_bytes(bytes(data))


def one_more(path):
    path.write_bytes(path.read_bytes() + frame(b"extra"))


def remove(path):
    path.unlink()


def already_array_record(path):
    info = path.parent / "dataset_info.json"
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))


def not_json(path):
    (path.parent / "dataset_info.json").write_text("{")


def no_features(path):
    (path.parent / "features.json").unlink()


@pytest.mark.parametrize(
    "damage, message",
    [
        (cut, "data of record 6 is cut short"),
        (cut_in_header, "header of record 7 is cut short"),
        (flip_in_data, "data of record 0 does not fit its checksum"),
        (flip_in_length, "header of record 0 does not fit its checksum"),
        (one_more, "holds 8 records, dataset_info.json says 7"),
        (remove, "lacks shard 0 of split 'train'"),
        (already_array_record, "holds array_record, not tfrecord"),
        (not_json, "is not JSON"),
        (no_features, "has no features.json"),
    ],
)
def test_damage_is_refused_and_nothing_is_left(tfrecord, tmp_path, capsys, damage, message):
    damage(shard(tfrecord))
    out = tmp_path / "out" / "1.0.0"
    out.parent.mkdir()
    assert convert.main([str(tfrecord), str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(out.parent.iterdir()) == []


def test_existing_output_is_kept(tfrecord, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        convert.convert(tfrecord, out)
    assert [p.name for p in out.iterdir()] == ["mine"]
