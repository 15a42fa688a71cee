"""Own data in one config line: images in a folder, with annotations in COCO's or VOC's format.

Each is a `Source`, read once when it is made; images are opened when they are asked for. Mistakes
in an annotation file are UserErrors that name file and row. Boxes that no network can learn are
left for the pipeline (`degenerate`) and for `python -m vision_jax.data.doctor`.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data import coco_json, voc_xml
from vision_jax.data.decode import RecordError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id",),
    "categories": ("id", "name"),
}
_COCO_FIELDS = ("objects", "rle", "keypoints", "captions")


class Folder:
    """What the sources below share: `_listed`, (image file, the example's other fields) each."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self._read[0]

    @property
    def _listed(self) -> list[tuple[pathlib.Path, dict]]:
        return self._read[1]

    def __post_init__(self):
        if not self._listed:
            raise UserError(f"{self._annotations}: it lists no image")

    def __getstate__(self) -> dict:
        """The settings alone: each process reads the annotations."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __len__(self) -> int:
        return len(self._listed)

    def __getitem__(self, i: int) -> dict:
        file, fields = self._listed[i]
        try:
            return {"image": file.read_bytes(), **fields}
        except OSError as error:
            raise RecordError(f"{self.describe(i)}: {error.strerror}") from error

    def describe(self, i: int) -> str:
        """'train.csv record 3 (photos/dog.jpg)'."""
        return f"{self._annotations} record {i} ({self._listed[i][0]})"

    def image_id(self, i: int) -> int | str:
        """The image's id in the annotation file; the file name without suffix where it has none."""
        return self._listed[i][1].get("image_id", self._listed[i][0].stem)


@dataclasses.dataclass(frozen=True)
class CocoFolder(Folder):
    """Images with a JSON file in COCO's format.

    Attributes:
      annotations: the JSON file.
      images: the folder that its `file_name`s are in.
      fields: of 'objects', 'rle' (instance masks), 'keypoints' and 'captions'; see `sources.TFDS`.
      names: the classes, in the order of their labels; () is the file's, by category id.

    Raises:
      UserError: no such file or folder, JSON that is damaged or lacks what COCO's has, a category
        that is not among `names`.
    """

    annotations: str
    images: str
    fields: tuple = ("objects",)
    names: tuple = ()

    def __post_init__(self):
        for field in self.fields:
            if field not in _COCO_FIELDS:
                raise UserError(f"source field {field!r}{suggest(field, _COCO_FIELDS)}")
        super().__post_init__()

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The file's number of each class, for COCO's result files; -1 for those it lacks."""
        found = {c["name"]: c["id"] for c in self._document["categories"]}
        return tuple(found.get(name, -1) for name in self.classes)

    @property
    def _annotations(self) -> str:
        return self.annotations

    @functools.cached_property
    def _document(self) -> dict:
        try:
            document = json.loads(read_text(self.annotations))
        except json.JSONDecodeError as error:
            raise UserError(f"{self.annotations} row {error.lineno}: {error.msg}") from error
        for key in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not isinstance(document.get(key), list):
                raise UserError(f"{self.annotations}: no list {key!r}; is it in COCO's format?")
        for key, wanted in _NEEDED.items():
            for row, entry in enumerate(document[key]):
                missing = [name for name in wanted if name not in entry]
                if missing:
                    raise UserError(f"{self.annotations}, {key}[{row}]: no {missing[0]!r}")
        return document

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list]:
        document, folder = self._document, folder_at(self.images)
        categories = {c["id"]: c["name"] for c in document["categories"]}
        names = [categories[key] for key in sorted(categories)]
        classes = choose(names, self.names, self.annotations)
        labels = {key: classes.index(name) for key, name in categories.items()}
        count = max((len(c.get("keypoints", ())) for c in document["categories"]), default=0)
        captions = "captions" in self.fields
        found = coco_json.by_image(document["annotations"])
        unknown = [*(found.keys() - {image["id"] for image in document["images"]})]
        if unknown:
            raise UserError(f"{self.annotations}: annotations of image {unknown[0]!r}, not listed")
        listed = []
        for image in document["images"]:
            mine = found.get(image["id"], [])
            fields = {"image_id": image["id"]}
            if captions:
                fields["captions"] = [a["caption"] for a in mine if "caption" in a]
                mine = [a for a in mine if "caption" not in a]
            try:
                fields |= self._objects(mine, image, labels, count)
                file = folder / image["file_name"]
                if not file.is_file():
                    raise ValueError(f"no image {file}")
            except (KeyError, ValueError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else error
                where = f"{self.annotations}, {image['file_name']}"
                raise UserError(f"{where}: {reason}") from error
            listed.append((file, fields))
        return classes, listed

    def _objects(self, annotations: list, image: dict, labels: dict, count: int) -> dict:
        if not {"objects", "rle", "keypoints"} & {*self.fields}:
            return {}
        masks = "rle" in self.fields
        size = (image["height"], image["width"]) if masks else (0, 0)
        found = coco_json.objects(annotations, *size, count, masks)
        for category in found.category_ids:
            if category not in labels:
                raise ValueError(f"category {category} is not in the file's categories")
        fields = {
            "boxes": found.boxes,
            "labels": np.asarray([labels[k] for k in found.category_ids], np.int32),
            "crowd": found.crowd,
            "area": found.area,
            "category_ids": found.category_ids,
        }
        if masks:
            fields["rle"] = found.rle
        if "keypoints" in self.fields:
            fields["keypoints"] = found.keypoints
        return fields


@dataclasses.dataclass(frozen=True)
class VocFolder(Folder):
    """Images with one XML each, in VOC's format.

    Attributes:
      folder: one that has `Annotations` and `JPEGImages`, as a year of VOC's; or images and XML
        files side by side.
      split: the name of a list in ImageSets/Main, such as 'train'; '' is every annotated image.
      names: the classes, in the order of their labels; () is those found, sorted.

    Raises:
      UserError: no such folder or list, a damaged XML, a missing image, a class that is not among
        `names`.
    """

    folder: str
    split: str = ""
    names: tuple = ()

    @property
    def _annotations(self) -> str:
        return f"{self.folder} {self.split}".strip()

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list]:
        folder = folder_at(self.folder)
        nested = (folder / "Annotations").is_dir()
        notes = folder / "Annotations" if nested else folder
        images = folder / "JPEGImages" if nested else folder
        stems = sorted(path.stem for path in notes.glob("*.xml"))
        if self.split:
            lines = read_text(folder / "ImageSets" / "Main" / f"{self.split}.txt").splitlines()
            stems = [line.split()[0] for line in lines if line.split()]
        files = {path.stem: path for path in sorted(images.iterdir()) if _is_image(path)}
        found = []
        for stem in stems:
            if stem not in files:
                raise UserError(f"{images}: no image {stem} ({', '.join(SUFFIXES)})")
            try:
                things = voc_xml.objects((notes / f"{stem}.xml").read_bytes())
            except (ValueError, OSError) as error:
                raise UserError(f"{notes / stem}.xml: {error}") from error
            found.append((files[stem], things))
        names = sorted({thing.name for _, things in found for thing in things})
        classes = choose(names, self.names, self._annotations)
        return classes, [(file, _of_voc(things, classes)) for file, things in found]


def _of_voc(things: list[voc_xml.Thing], classes: tuple[str, ...]) -> dict:
    boxes = np.asarray([thing.box for thing in things], np.float32).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": np.asarray([classes.index(thing.name) for thing in things], np.int32),
        "difficult": np.asarray([thing.difficult for thing in things], bool),
        "truncated": np.asarray([thing.truncated for thing in things], bool),
    }


def choose(found: list[str], wanted: tuple, where: str) -> tuple[str, ...]:
    """The names asked for, where they cover those found; else those found."""
    if not wanted:
        return tuple(found)
    unknown = [name for name in found if name not in wanted]
    if unknown:
        raise UserError(
            f"{where}: class {unknown[0]!r} is not among names{suggest(unknown[0], wanted)}"
        )
    return tuple(wanted)


def folder_at(path: str) -> pathlib.Path:
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"no folder {path!r}")
    return folder


def read_text(path: str | pathlib.Path) -> str:
    try:
        return pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{path}: {reason}") from error


def _is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in SUFFIXES
