"""Reads a file in COCO's format whole, and checks the types and the ids of its entries."""

import dataclasses
from collections.abc import Callable
from typing import Any

from vision_jax.config import UserError
from vision_jax.data import coco_json
from vision_jax.data.checked_values import filled, identifier, printable, shown, size
from vision_jax.data.coco_json import Key
from vision_jax.data.folders import read_json

_LISTS = ("images", "annotations", "categories")


@dataclasses.dataclass(frozen=True)
class Image:
    """An entry of `images`, with the annotations that refer to it."""

    id: int | str | None  # as written
    file_name: str
    size: tuple[int, int] | None  # height and width as stated
    annotations: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Category:
    """An entry of `categories`."""

    id: int | str  # as written
    key: Key
    name: str
    keypoints: int  # the number of names that it lists


@dataclasses.dataclass(frozen=True)
class Document:
    """A file's content: images in its order, categories by id (numbers first)."""

    images: list[Image]
    categories: list[Category]

    def has(self, field: str) -> bool:
        """Returns whether an annotation has something under that name."""
        return any(a.get(field) for image in self.images for a in image.annotations)


def read(path: str, categories: bool = True) -> Document:
    """Reads a file.

    Args:
      path: the JSON file.
      categories: whether the list of categories is needed; captions have none.

    Raises:
      UserError: names file and row of what is damaged, missing, of a wrong type or there twice.
    """
    tree = _tree(path, _LISTS if categories else _LISTS[:2])
    images = _entries(path, tree, "images", _image)
    kinds = _entries(path, tree, "categories", _category) if categories else []
    _unique(path, "images", [identifier(image.id, "id") for image in images])
    _unique(path, "categories", [kind.key for kind in kinds])
    _unique(path, "categories", [kind.name for kind in kinds], "name")
    keys = _entries(path, tree, "annotations", _keys_of_annotation)
    _unique(path, "annotations", [key for key, _ in keys])
    by_id = {identifier(image.id, "id"): image for image in images}
    for row, (_, image) in enumerate(keys):
        if image is None or image not in by_id:
            where = "null" if image is None else f"{shown(image)}, which images do not list"
            raise UserError(f"{path}, annotations[{row}]: its image_id is {where}")
        by_id[image].annotations.append(tree["annotations"][row])
    return Document(images, sorted(kinds, key=_order))


def _tree(path: str, lists: tuple[str, ...]) -> dict[str, Any]:
    """Returns the file's JSON, which has these lists of objects."""
    tree = read_json(path)
    for key in lists:
        if not isinstance(tree, dict) or not isinstance(tree.get(key), list):
            raise UserError(f"{path}: no list {key!r}; is it in COCO's format?")
        for row, entry in enumerate(tree[key]):
            if not isinstance(entry, dict):
                raise UserError(f"{path}, {key}[{row}] is {shown(entry)}, not an object")
    return tree


def _entries(path: str, tree: dict[str, Any], key: str, make: Callable[[dict], Any]) -> list[Any]:
    """Returns what `make` reads from each entry of a list; its errors get file and row."""
    entries = []
    for row, entry in enumerate(tree[key]):
        try:
            entries.append(make(entry))
        except KeyError as error:
            raise UserError(f"{path}, {key}[{row}]: no {error}") from error
        except ValueError as error:
            raise UserError(f"{path}, {key}[{row}]: {error}") from error
    return entries


def _image(entry: dict[str, Any]) -> Image:
    identifier(entry["id"], "id")
    name = filled(entry["file_name"], "file_name")
    return Image(entry["id"], name, size(entry.get("height"), entry.get("width")), [])


def _category(entry: dict[str, Any]) -> Category:
    key = identifier(entry["id"], "id")
    if key is None:
        raise ValueError("id is null")
    name = entry["name"]
    name = str(name) if type(name) is int else filled(name, "name")
    points = entry.get("keypoints")
    if not isinstance(points, list | None):
        raise ValueError(f"keypoints is {shown(points)}, not a list of names")
    return Category(entry["id"], key, name, len(points or ()))


def _keys_of_annotation(entry: dict[str, Any]) -> tuple[Key, Key]:
    """Returns the ids of an annotation and of its image."""
    return identifier(entry.get("id"), "id"), identifier(entry["image_id"], "image_id")


def _unique(path: str, key: str, values: list[Key], what: str = "id") -> None:
    """Raises UserError where two entries share an id; null is none."""
    rows: dict[Key, int] = {}
    for row, value in enumerate(values):
        if value is not None and rows.setdefault(value, row) != row:
            raise UserError(
                f"{path}: {key}[{rows[value]}] and {key}[{row}] share the {what} "
                f"{printable(shown(value))}; give each its own"
            )


def _order(category: Category) -> tuple[bool, int, str]:
    """Returns what categories are sorted by: numbers by value, then texts."""
    key = category.key
    return (False, key, "") if isinstance(key, int) else (True, 0, str(key))


def keypoint_count(document: Document) -> int:
    """Returns the number of keypoints per object: what categories list, else annotations have.

    Raises:
      ValueError: annotations of one category that have different numbers, or others than it lists.
    """
    counts = {category.key: category.keypoints for category in document.categories}
    for image in document.images:
        for row, annotation in enumerate(image.annotations):
            if not annotation.get("keypoints"):
                continue
            where = f"{printable(image.file_name)}: {coco_json.title(annotation, row)}"
            try:
                own = len(coco_json.keypoints_of(annotation))
                key = identifier(annotation.get("category_id"), "category_id")
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            listed = counts.get(key, 0) or own
            counts[key] = listed
            if own != listed:
                raise ValueError(
                    f"{where}: keypoints are {own} points, not its category's {listed}"
                )
    return max(counts.values(), default=0)
