"""Readers and a writer of Darknet's files: `.cfg`, which describes a network, and `.weights`.

Facts about the formats are from Darknet's parser.c.
"""

import functools
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from vision_jax.config import UserError, printable
from vision_jax.models.detectors.yolo_v2 import YOLOv2
from vision_jax.system import disk
from vision_jax.weights import engine
from vision_jax.weights.darknet_sections import darknet, sections, shapes
from vision_jax.weights.engine import Loaded, State, Table
from vision_jax.weights.heads import with_counts

SUFFIX = ".weights"
_PART = re.compile(r"\.conv\.(\d+)$")  # the first so many sections, 'darknet53.conv.74'
# The values of options that a .cfg leaves out.
_DEFAULTS = {"batch_normalize": 0, "stride": 1, "size": 1, "groups": 1, "activation": "logistic"}


def is_weights(path: Path) -> bool:
    """Returns True if a file is Darknet's by its name: 'yolov3.weights', 'darknet53.conv.74'."""
    return path.suffix == SUFFIX or _PART.search(path.name) is not None


def load(path: Path, model: nn.Module) -> Loaded:
    """Reads the variables of `model`; those of its backbone from a file as 'darknet53.conv.74'.

    A file for another number of classes is read as what it is, so that all but the layers of the
    classes fit.

    Raises:
      UserError: see `read_weights`.
    """
    described, count = _described(path, model)
    table = Table("darknet", functools.partial(darknet, count=count), is_part=count is not None)
    state = _numbers(path, described, count)
    return engine.read(state, described, [table], ())


def read_weights(path: Path, model: nn.Module) -> dict[str, np.ndarray]:
    """Reads the state in a `.weights` file; a `.cfg` of the same name beside it is checked first.

    The header is three int32, major, minor and revision, and how many images training saw: int64
    from version 0.2 on, else int32. The numbers after it are float32 in the order of the `.cfg`.

    Raises:
      UserError: no such file, it holds fewer or more numbers than the model has, whatever its
        number of classes, or the `.cfg` describes another model.
    """
    described, count = _described(path, model)
    return _numbers(path, described, count)


def _described(path: Path, model: nn.Module) -> tuple[nn.Module, int | None]:
    """Returns the model, with the file's number of classes, and how many sections the file has.

    The number is None for all sections; else it is in the file's name, or the file ends with that
    section to the byte.
    """
    if not path.is_file():
        raise UserError("no such weights file")
    raw = path.read_bytes()
    total, count = (len(raw) - _header(raw)) / 4, _count(path)
    if count is not None:
        model = _for_part(model, count)
    if count is None and total != _size(model):
        model = _of_size(model, total)
        if total != _size(model):
            count = _sections_of_size(model, total)
    cfg = path.with_suffix(".cfg")
    if cfg.is_file() and cfg != path:
        try:
            check_cfg(cfg.read_bytes().decode("utf-8", "replace"), model)
        except UserError as error:
            raise UserError(f"{printable(cfg.name)}: {error}") from None
    return model, count


def _for_part(model: nn.Module, count: int) -> nn.Module:
    """Returns the model as Darknet has it, if what differs lies beyond the first sections."""
    if not isinstance(model, YOLOv2):
        return model
    theirs = model.clone(reorg="darknet")
    first = (section.path for section in sections(theirs)[:count])
    return theirs if not any(path.startswith("head/") for path in first) else model


def _size(model: nn.Module, count: int | None = None) -> int:
    """Returns the number of numbers in a file."""
    return sum(math.prod(shape) for shape in shapes(model, count).values())


def _of_size(model: nn.Module, total: float) -> nn.Module:
    """Returns the model for so many classes that its file has `total` numbers, if there is one."""
    few, more = with_counts(model, lambda _: 1), with_counts(model, lambda _: 2)
    each = _size(more) - _size(few)
    classes = 1 + (total - _size(few)) / each if each else 0
    if classes < 1 or classes != int(classes):
        return model
    return with_counts(model, lambda _: int(classes))


def _sections_of_size(model: nn.Module, total: float) -> int | None:
    """Returns the number of first sections that have `total` numbers; None if there is none."""
    numbers = range(1, len(sections(model)))
    return next((n for n in numbers if 0 < total == _size(model, n)), None)


def _header(raw: bytes) -> int:
    """Returns the size of a file's header in bytes."""
    if len(raw) < 16:
        return 16
    major, minor, _ = struct.unpack("<3i", raw[:12])
    return 20 if major * 10 + minor >= 2 and major < 1000 and minor < 1000 else 16


def _numbers(path: Path, model: nn.Module, count: int | None) -> dict[str, np.ndarray]:
    """Reads the numbers of the model's first `count` sections, None for all of them.

    A whole file may be named as its first sections: the rest of it is left, as Darknet does.
    """
    raw = path.read_bytes()
    if len(raw) < 16:
        raise UserError(f"{len(raw)} bytes, less than a header")
    major, minor, _ = struct.unpack("<3i", raw[:12])
    start, array_shapes = _header(raw), shapes(model, count)
    total = sum(math.prod(shape) for shape in array_shapes.values())
    if not array_shapes:
        raise UserError(f"its first {count} sections hold no numbers")
    is_longer = _count(path) is not None and len(raw) > start + 4 * total
    if len(raw) != start + 4 * total and not is_longer:
        raise UserError(
            f"{len(raw):,} bytes, but {type(model).__name__} as it is configured has {total:,} "
            f"numbers here, {start + 4 * total:,} bytes with the header"
        )
    numbers, state, first = np.frombuffer(raw, "<f4", total, start), {}, 0
    for name, shape in array_shapes.items():
        size = math.prod(shape)
        state[name] = numbers[first : first + size].reshape(shape)
        first += size
        # Old files hold fully connected weights the other way round.
        if len(shape) == 2 and (major > 1000 or minor > 1000):
            state[name] = state[name].reshape(shape[::-1]).T
    return state


def write_weights(path: Path, state: State, model: nn.Module, seen: int = 0) -> None:
    """Writes a `.weights` file of version 0.2 that Darknet reads.

    Args:
      path: of the file.
      state: the result of `weights.to_reference(variables, model, 'darknet')`.
      model: whose state it is.
      seen: images that training has seen.
    """
    with disk.whole_file(path) as half, half.open("wb") as file:
        file.write(struct.pack("<3iq", 0, 2, 0, seen))
        for name in shapes(model):
            file.write(np.ascontiguousarray(state[name], "<f4").tobytes())


def read_cfg(text: str) -> list[tuple[str, dict[str, str]]]:
    """Returns the sections of a `.cfg`, [net] first: kind and options as written.

    Raises:
      UserError: a line that is neither.
    """
    described: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.partition("#")[0].partition(";")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            described.append((line[1:-1].strip(), {}))
        elif "=" in line and described:
            key, _, value = line.partition("=")
            described[-1][1][key.strip()] = value.strip()
        elif line:
            shown = printable(line, 60)
            raise UserError(f"line {number} is neither [section] nor key=value: {shown!r}")
    return described


def check_cfg(text: str, model: nn.Module) -> None:
    """Checks that a `.cfg` describes the model.

    Raises:
      UserError: the first section that differs, with both values.
    """
    theirs, ours = read_cfg(text), sections(model)
    if not theirs or theirs[0][0] not in ("net", "network"):
        raise UserError("does not begin with [net]")
    theirs = theirs[1:]
    for number, ((kind, options), section) in enumerate(zip(theirs, ours, strict=False)):
        if kind != section.kind:
            shown = printable(kind, 40)
            raise UserError(f"section {number} is [{shown}], the model's is [{section.kind}]")
        for key, value in section.options.items():
            file_value = _parsed(options.get(key, str(_DEFAULTS.get(key, 0))))
            if kind in ("route", "shortcut") and key in ("layers", "from"):
                file_value = tuple(_absolute(n, number) for n in file_value)
            if file_value != _parsed(value):
                raise UserError(
                    f"section {number} [{kind}] has {key}={_shown(file_value)}, "
                    f"the model {key}={_shown(_parsed(value))}"
                )
    if len(theirs) != len(ours):
        raise UserError(f"{len(theirs)} sections, the model has {len(ours)}")


def _count(path: Path) -> int | None:
    """Returns the number of sections in a file such as 'darknet53.conv.74'; None for all."""
    part = _PART.search(path.name)
    return int(part[1]) if part else None


def _parsed(value: Any) -> tuple:
    """Returns numbers, or words, as a tuple to be compared."""
    values = value if isinstance(value, tuple) else str(value).split(",")
    return tuple(_number(v) for v in values if str(v).strip())


def _number(value: Any) -> int | float | str:
    """Returns the number that a text is; the text if it is none."""
    try:
        number = float(value)
    except ValueError:
        return str(value).strip()
    return int(number) if number.is_integer() else number


def _absolute(layer: int | float | str, number: int) -> int | float | str:
    """Returns the number of a layer that section `number` names, which may be relative."""
    return number + layer if isinstance(layer, int) and layer < 0 else layer


def _shown(values: tuple) -> str:
    """Returns values as a `.cfg` writes them."""
    return printable(",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values))
