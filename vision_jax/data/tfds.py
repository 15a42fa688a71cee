"""Prepared TFDS data sets as sources, read without TensorFlow."""

import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data import coco_json, tfds_features
from vision_jax.data.decode import RecordError, decode_image, image_size
from vision_jax.data.sources import Example, LazySource

FIELDS = ("label", "multilabel", "objects", "rle", "keypoints", "segmentation", "captions")
# The height, width and channels of sets whose images all have one size.
IMAGE_SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}
# Written from a seed in seconds, so prepared when first asked for.
EMBEDDED = ("shapes",)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_FILE_NAMES = ("file_name", "image/filename", "id")


@dataclasses.dataclass(frozen=True)
class TFDS(LazySource):
    """A split of a prepared TFDS data set in array_record, read without TensorFlow.

    Attributes:
      name: the data set's name: 'imagenet2012', 'voc/2007', 'shapes/cls32' or 'mnist:3.0.1'.
      split: 'train', 'test[:10%]', 'train+validation', ... (TFDS's syntax).
      data_dir: the folder of data sets; None is $TFDS_DATA_DIR or ~/tensorflow_datasets.
      fields: some of FIELDS, which an example then holds. `label` is the class; `multilabel` a
        float32 vector (C,) with 1 for each class that has an object which is not difficult, under
        the key `label`; `objects` gives `boxes`, `labels` and, where known, `difficult`, `crowd`,
        `area`, `truncated`, `category_ids`; `rle` instance masks, as COCO's run lengths.
      label_key: the feature that is the label, e.g. 'coarse_label' of cifar100.
      cache_mb: images of one size are held in memory, decoded, up to so many MiB.

    Raises:
      UserError: the data set is not prepared, is in TFRecord format, or lacks the split or a field.
    """

    name: str
    split: str
    data_dir: str | None = None
    fields: tuple[str, ...] = ("label",)
    label_key: str = "label"
    cache_mb: int = 1024

    def __post_init__(self):
        if {"label", "multilabel"} <= set(self.fields):
            raise UserError("source fields: choose one of 'label' and 'multilabel'")
        for field in self.fields:
            if field not in FIELDS:
                raise UserError(f"source field {field!r} is unknown{suggest(field, FIELDS)}")
            feature = tfds_features.feature(field, self.label_key, self._object_parts)
            if feature not in self._paths:
                known = ", ".join(sorted(self._paths))
                raise UserError(f"data set {self.name!r} has no {feature!r} - it has: {known}")
        _ = self._records  # a wrong split is reported now, not when training starts

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> Example:
        try:
            return self._example(self._features(i, self._needed))
        except ValueError as error:
            raise RecordError(f"{self.describe(i)}: {error}") from error

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        import tensorflow_datasets as tfds

        features = self._builder.info.features
        asked = set(self.fields) & {"label", "multilabel", "objects"}
        label = features[self.label_key] if asked == {"label"} else None
        if label is None and "objects" in features:
            label = features["objects"]["label"]
        names = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
        if not asked and "segmentation" in self.fields:
            if "segmentation/classes" in features:
                return tuple(features["segmentation/classes"].feature.names)
            return ("background", *names)
        return names

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(coco_json.CATEGORIES) if "category_id" in self._object_parts else ()

    @property
    def version(self) -> str:
        return str(self._builder.version)

    def image_id(self, i: int) -> int | str:
        """Returns COCO's number of image i, else its file's name without suffix, else i."""
        for key in ("image/id", *_FILE_NAMES):
            if key in self._builder.info.features:
                value = self._features(i, (key,))[key]
                return (
                    int(value)
                    if key == "image/id"
                    else pathlib.Path(tfds_features.text(value)).stem
                )
        return i

    def describe(self, i: int) -> str:
        """Returns a text such as 'imagenet2012 train record 7 (n01440764_10026.JPEG)'.

        Without the file's name where the data set has none or the record cannot be read.
        """
        record = f"{self.name} {self.split} record {i}"
        for key in _FILE_NAMES:
            if key in self._builder.info.features:
                try:
                    return f"{record} ({tfds_features.text(self._features(i, (key,))[key])})"
                except RecordError:
                    break
        return record

    def arrays(self) -> dict[str, np.ndarray] | None:
        """Returns all images, decoded, and labels.

        None unless images have one size and fit into `cache_mb`, and only the label is asked for.

        Raises:
          RecordError: an image that cannot be decoded.
        """
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

        folder = _find(self.name, _data_dir(self.data_dir))
        try:
            return tfds.builder_from_directory(folder)
        except Exception as error:  # TFDS checks little of what it reads, and raises what comes
            raise UserError(
                f"data set {self.name!r}: features.json or dataset_info.json in {folder} lacks "
                f"what TFDS wrote ({type(error).__name__}); copy or prepare it again"
            ) from error

    @functools.cached_property
    def _records(self) -> Any:
        """The undecoded records, by number."""
        import tensorflow_datasets as tfds

        undecoded = tfds.decode.DeserializeMethod.RAW_BYTES
        try:
            return self._builder.as_data_source(self.split, deserialize_method=undecoded)
        except Exception as error:  # TFDS and array_record raise kinds of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"data set {self.name!r}, split {self.split!r}: {reason}") from error

    @functools.cached_property
    def _paths(self) -> set[str]:
        """The features' names, those of objects as 'objects/bbox'."""
        return {*self._builder.info.features, *(f"objects/{key}" for key in self._object_parts)}

    @functools.cached_property
    def _object_parts(self) -> tuple[str, ...]:
        """The names of the features that each object has."""
        features = self._builder.info.features
        return tuple(features["objects"].feature) if "objects" in features else ()

    @functools.cached_property
    def _image_shape(self) -> tuple:
        return tuple(self._builder.info.features["image"].shape)

    @property
    def _needed(self) -> tuple[str, ...]:
        """The features that `fields` need; parsing the others would take time."""
        needed = [tfds_features.feature(f, self.label_key, self._object_parts) for f in self.fields]
        return ("image", *dict.fromkeys(name.split("/")[0] for name in needed))

    def _features(self, i: int, keys: tuple[str, ...]) -> dict:
        """Returns features of record i as TFDS gives them, images still encoded."""
        if keys not in self._parsers:
            self._parsers[keys] = self._parser(keys)
        try:
            record = self._records[i]
            if not record:  # what array_record gives beyond the end of a file that was cut short
                raise ValueError("it is empty")
            return self._parsers[keys](record)
        except Exception as error:  # array_record and the parser raise kinds of their own
            message = f"{self.name} {self.split} record {i}: the record cannot be read ({error})"
            raise RecordError(message) from error

    @functools.cached_property
    def _parsers(self) -> dict[tuple[str, ...], Callable[[bytes], dict]]:
        return {}

    def _parser(self, keys: tuple[str, ...]) -> Callable[[bytes], dict]:
        """Makes the function that parses those features of a record."""
        import tensorflow_datasets as tfds

        features = {key: self._builder.info.features[key] for key in keys}
        if "objects" in features:
            parts = features["objects"].feature
            needed = tfds_features.parts(self.fields, self._object_parts)
            features["objects"] = tfds.features.Sequence({part: parts[part] for part in needed})
        images = [key for key in keys if isinstance(features[key], tfds.features.Image)]
        return functools.partial(
            tfds.features.FeaturesDict(features).deserialize_example_np,
            decoders={key: tfds.decode.SkipDecoding() for key in images},
        )

    def _example(self, record: dict[str, Any]) -> dict[str, Any]:
        """Turns a record's features into the example's fields."""
        example: dict[str, Any] = {"image": record["image"]}
        if None not in self._image_shape:
            pixels = decode_image(record["image"], self._image_shape[-1])
            if pixels.shape != self._image_shape:
                raise ValueError(f"the image is {pixels.shape}, not {self._image_shape}")
            example["image"] = pixels
        if "label" in self.fields:
            example["label"] = int(record[self.label_key])
        objects = record.get("objects", {})
        if "multilabel" in self.fields:
            example["label"] = tfds_features.multi_hot(objects, len(self.classes))
        if "objects" in self.fields:
            example |= tfds_features.boxes_and_labels(objects, image_size(record["image"]))
        if "rle" in self.fields:
            example["rle"] = [bytes(rle) for rle in objects["rle"]]
        if "keypoints" in self.fields:
            shape = self._builder.info.features["objects"]["keypoints"].shape
            points = np.asarray(objects["keypoints"], np.float32)
            example["keypoints"] = points.reshape(-1, *shape)
        if "segmentation" in self.fields:
            example["segmentation"] = record["segmentation"]
        if "captions" in self.fields:
            example["captions"] = [tfds_features.text(caption) for caption in record["captions"]]
        return example


def _data_dir(data_dir: str | None) -> pathlib.Path:
    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(folder).expanduser()


def _find(dataset: str, data_dir: pathlib.Path) -> str:
    """Returns the newest prepared version's folder; prepares embedded data sets on the way."""
    folder = _newest(dataset, data_dir)
    name, _, version = dataset.partition(":")
    for file in (data_dir / name).glob(f"{version or '[0-9]*.*'}/features.json"):
        if folder is None and not (file.parent / "dataset_info.json").is_file():
            raise UserError(
                f"{file.parent}: it has no dataset_info.json; copy or prepare the data set again"
            )
    if folder is None and dataset.split("/")[0] in EMBEDDED:
        from vision_jax.data import prepare

        prepare.prepare(dataset, str(data_dir))
        folder = _newest(dataset, data_dir)
    if folder is None:
        raise UserError(
            f"data set {dataset!r} is not prepared in {data_dir}; "
            f"run: python -m vision_jax.data.prepare {dataset} --data_dir {data_dir}"
        )
    info = _metadata(folder / "dataset_info.json")
    if info.get("fileFormat", "tfrecord") != "array_record":
        raise UserError(
            f"data set {dataset!r} in {folder} is not in array_record format; "
            f"run: mv {folder} {folder}.old && "
            f"python -m vision_jax.data.convert {folder}.old {folder}"
        )
    _metadata(folder / "features.json")
    for file in folder.glob("*.labels.txt"):
        if not file.stat().st_size:  # TFDS would call the classes 0, 1, 2 …
            raise UserError(f"{file}: it is empty; copy or prepare the data set again")
    return str(folder)


def _metadata(file: pathlib.Path) -> dict[str, Any]:
    """Returns a JSON file of a prepared data set; raises UserError for one that is damaged."""
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; copy or prepare the data set again") from error
    except (ValueError, RecursionError) as error:
        size = file.stat().st_size
        raise UserError(
            f"{file}: its {size} bytes are no whole JSON; copy or prepare the data set again"
        ) from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file}: it holds nothing; copy or prepare the data set again")
    return content


def _newest(dataset: str, data_dir: pathlib.Path) -> pathlib.Path | None:
    name, _, version = dataset.partition(":")
    versions = [
        path.parent
        for path in (data_dir / name).glob(f"{version or '*'}/dataset_info.json")
        if _VERSION.fullmatch(path.parent.name)
    ]
    return max(versions, key=lambda path: [int(n) for n in path.name.split(".")], default=None)
