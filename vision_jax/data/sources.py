"""Where examples come from: random access to a data set, one example at a time.

An example is a dict: `image` (encoded bytes, or uint8 (h, w, c)) and what was asked for of `label`,
`boxes`, `labels`, `difficult`, `crowd`, `truncated`, `area`, `category_ids`, `rle` or `masks`,
`keypoints`, `segmentation`, `captions`. Boxes are float32 (n, 4) xyxy in pixels of the original
image, as annotated: VOC's count from one.
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data import coco_json, records
from vision_jax.data.decode import RecordError, decode_image, image_size

FIELDS = ("label", "multilabel", "objects", "rle", "keypoints", "segmentation", "captions")
# Written from a seed in seconds, so prepared when first asked for.
EMBEDDED = ("shapes",)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_FILE_NAMES = ("file_name", "image/filename", "id")


class Source(Protocol):
    """What a pipeline reads. Sources are picklable: worker processes get a copy.

    Attributes:
      classes: the names of labels 0..C-1.
    """

    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of examples."""

    def __getitem__(self, i: int) -> dict:
        """Example i. Raises RecordError where it cannot be read."""

    def describe(self, i: int) -> str:
        """Example i in words, for error messages."""

    def arrays(self) -> dict[str, np.ndarray] | None:
        """All examples as `image` (n, h, w, c) uint8 and `label` (n,) int32, where they are small
        and of one size; otherwise None."""


@dataclasses.dataclass(frozen=True)
class TFDS:
    """A split of a prepared TFDS data set in array_record, read without TensorFlow.

    Attributes:
      name: of the data set, e.g. 'imagenet2012', 'voc/2007', 'shapes/cls32' or 'mnist:3.0.1'.
      split: 'train', 'test[:10%]', 'train+validation', ... (TFDS's syntax).
      data_dir: where data sets are prepared; None is $TFDS_DATA_DIR or ~/tensorflow_datasets.
      fields: what an example holds, of FIELDS. `label` is the class; `multilabel` a float32
        vector (C,) with 1 for each class that has an object which is not difficult, under the
        key `label`; `objects` gives `boxes`, `labels` and, where known, `difficult`, `crowd`,
        `area`, `truncated`, `category_ids`; `rle` instance masks, as COCO's run lengths.
      label_key: the feature that is the label, e.g. 'coarse_label' of cifar100.
      cache_mb: images of one size are held in memory, decoded, up to so many MiB.

    Raises:
      UserError: the data set is not prepared, is in TFRecord format, or lacks the split or a field.
    """

    name: str
    split: str
    data_dir: str | None = None
    fields: tuple = ("label",)
    label_key: str = "label"
    cache_mb: int = 1024

    def __post_init__(self):
        if {"label", "multilabel"} <= set(self.fields):
            raise UserError("source fields: choose one of 'label' and 'multilabel'")
        for field in self.fields:
            if field not in FIELDS:
                raise UserError(f"source field {field!r} is unknown{suggest(field, FIELDS)}")
            feature = records.feature(field, self.label_key, self._inner)
            if feature not in self._paths:
                known = ", ".join(sorted(self._paths))
                raise UserError(f"data set {self.name!r} has no {feature!r} - it has: {known}")
        _ = self._records  # a wrong split is reported now, not when training starts

    def __getstate__(self) -> dict:
        """The settings alone: open files and caches stay in their process."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> dict:
        try:
            return self._example(self._features(i, self._wanted))
        except ValueError as error:
            raise RecordError(f"{self.describe(i)}: {error}") from error

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        features = self._builder.info.features
        asked = set(self.fields) & {"label", "multilabel", "objects"}
        label = features[self.label_key] if asked == {"label"} else None
        if label is None and "objects" in features:
            label = features["objects"]["label"]
        names = tuple(getattr(label, "names", ()))
        if not asked and "segmentation" in self.fields:
            if "segmentation/classes" in features:
                return tuple(features["segmentation/classes"].feature.names)
            return ("background", *names)
        return names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """COCO's number of each class, for its result files; () for other data sets."""
        return tuple(coco_json.CATEGORIES) if "category_id" in self._inner else ()

    def image_id(self, i: int) -> int | str:
        """What the data set's own result files call image i: COCO's number, else the file name
        without its suffix, else i."""
        for key in ("image/id", *_FILE_NAMES):
            if key in self._builder.info.features:
                value = self._features(i, (key,))[key]
                return int(value) if key == "image/id" else pathlib.Path(records.text(value)).stem
        return i

    def describe(self, i: int) -> str:
        """'imagenet2012 train record 7 (n01440764_10026.JPEG)'; the file where it is known."""
        text = f"{self.name} {self.split} record {i}"
        known = [key for key in _FILE_NAMES if key in self._builder.info.features]
        try:
            return (
                f"{text} ({records.text(self._features(i, (known[0],))[known[0]])})"
                if known
                else text
            )
        except RecordError:
            return text

    def arrays(self) -> dict[str, np.ndarray] | None:
        """All images decoded, where they have one size, fit into `cache_mb` and only the label is
        asked for; otherwise None. Raises RecordError for an image that cannot be decoded."""
        shape = self._image_shape
        if self.fields != ("label",) or None in shape:
            return None
        if len(self) * np.prod(shape) > self.cache_mb * 2**20:
            return None
        return self._decoded

    @functools.cached_property
    def _decoded(self) -> dict[str, np.ndarray]:
        image = np.empty((len(self), *self._image_shape), np.uint8)
        label = np.empty(len(self), np.int32)
        for i in range(len(self)):
            example = self[i]
            image[i], label[i] = example["image"], example["label"]
        return {"image": image, "label": label}

    @functools.cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(_find(self.name, _data_dir(self.data_dir)))

    @functools.cached_property
    def _records(self) -> Any:
        """Random access to the undecoded records."""
        import tensorflow_datasets as tfds

        undecoded = tfds.decode.DeserializeMethod.RAW_BYTES
        try:
            return self._builder.as_data_source(self.split, deserialize_method=undecoded)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"data set {self.name!r}, split {self.split!r}: {reason}") from error

    @functools.cached_property
    def _paths(self) -> set[str]:
        """Names of the features, those of objects as 'objects/bbox'."""
        return {*self._builder.info.features, *(f"objects/{key}" for key in self._inner)}

    @functools.cached_property
    def _inner(self) -> tuple[str, ...]:
        """Names of what each object has."""
        features = self._builder.info.features
        return tuple(features["objects"].feature) if "objects" in features else ()

    @functools.cached_property
    def _image_shape(self) -> tuple:
        return tuple(self._builder.info.features["image"].shape)

    @property
    def _wanted(self) -> tuple[str, ...]:
        """The features that `fields` need; the others are not parsed, which takes time."""
        needed = [records.feature(f, self.label_key, self._inner) for f in self.fields]
        return ("image", *dict.fromkeys(name.split("/")[0] for name in needed))

    def _features(self, i: int, keys: tuple[str, ...]) -> dict:
        """Features of record i as TFDS gives them, images still encoded."""
        if keys not in self._parsers:
            self._parsers[keys] = self._parser(keys)
        try:
            record = self._records[i]
            if not record:  # what array_record gives beyond the end of a file that was cut short
                raise ValueError("it is empty")
            return self._parsers[keys](record)
        except Exception as error:  # array_record and the parser raise kinds of their own
            text = f"{self.name} {self.split} record {i}: the record cannot be read ({error})"
            raise RecordError(text) from error

    @functools.cached_property
    def _parsers(self) -> dict[tuple[str, ...], Callable[[bytes], dict]]:
        return {}

    def _parser(self, keys: tuple[str, ...]) -> Callable[[bytes], dict]:
        import tensorflow_datasets as tfds

        features = {key: self._builder.info.features[key] for key in keys}
        if "objects" in features:
            inner = features["objects"].feature
            needed = records.parts(self.fields, self._inner)
            features["objects"] = tfds.features.Sequence({part: inner[part] for part in needed})
        images = [key for key in keys if isinstance(features[key], tfds.features.Image)]
        return functools.partial(
            tfds.features.FeaturesDict(features).deserialize_example_np,
            decoders={key: tfds.decode.SkipDecoding() for key in images},
        )

    def _example(self, record: dict) -> dict:
        example = {"image": record["image"]}
        if None not in self._image_shape:
            pixels = decode_image(record["image"], self._image_shape[-1])
            if pixels.shape != self._image_shape:
                raise ValueError(f"the image is {pixels.shape}, not {self._image_shape}")
            example["image"] = pixels
        if "label" in self.fields:
            example["label"] = int(record[self.label_key])
        objects = record.get("objects", {})
        if "multilabel" in self.fields:
            example["label"] = records.multi_hot(objects, len(self.classes))
        if "objects" in self.fields:
            example |= records.boxes_and_labels(objects, image_size(record["image"]))
        if "rle" in self.fields:
            example["rle"] = [bytes(rle) for rle in objects["rle"]]
        if "keypoints" in self.fields:
            shape = self._builder.info.features["objects"]["keypoints"].shape
            points = np.asarray(objects["keypoints"], np.float32)
            example["keypoints"] = points.reshape(-1, *shape)
        if "segmentation" in self.fields:
            example["segmentation"] = record["segmentation"]
        if "captions" in self.fields:
            example["captions"] = [records.text(caption) for caption in record["captions"]]
        return example


def _data_dir(data_dir: str | None) -> pathlib.Path:
    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(folder).expanduser()


def _find(dataset: str, data_dir: pathlib.Path) -> str:
    """The folder of the newest prepared version; embedded data sets are prepared on the way."""
    folder = _newest(dataset, data_dir)
    if folder is None and dataset.split("/")[0] in EMBEDDED:
        from vision_jax.data import prepare

        prepare.prepare(dataset, str(data_dir))
        folder = _newest(dataset, data_dir)
    if folder is None:
        raise UserError(
            f"data set {dataset!r} is not prepared in {data_dir}; "
            f"run: python -m vision_jax.data.prepare {dataset} --data_dir {data_dir}"
        )
    info = json.loads((folder / "dataset_info.json").read_text())
    if info.get("fileFormat", "tfrecord") != "array_record":
        raise UserError(
            f"data set {dataset!r} in {folder} is not in array_record format; "
            f"run: mv {folder} {folder}.old && "
            f"python -m vision_jax.data.convert {folder}.old {folder}"
        )
    return str(folder)


def _newest(dataset: str, data_dir: pathlib.Path) -> pathlib.Path | None:
    name, _, version = dataset.partition(":")
    found = [
        path.parent
        for path in (data_dir / name).glob(f"{version or '*'}/dataset_info.json")
        if _VERSION.fullmatch(path.parent.name)
    ]
    return max(found, key=lambda path: [int(n) for n in path.name.split(".")], default=None)
