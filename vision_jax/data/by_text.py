"""Sources by text, as the doctor and flags take them: 'coco:train.json,photos'.

    tfds:NAME,SPLIT[,data_dir=D]                a prepared data set
    coco:ANNOTATIONS.json,IMAGES                COCO's format, and the images' folder
    voc:FOLDER[,SPLIT]                          a folder in VOC's format
    csv:FILE.csv,IMAGES,FORMAT[,relative=true]  one object a row; FORMAT is xyxy, xywh, …
    folder:FOLDER                               a folder of images for each class
    masks:IMAGES,MASKS,NAMES                    images, and a mask for each; NAMES is 'sky;road;…'
    yolo:DATA.yaml[,SPLIT]                      what YOLO's tools read
    labelme:FOLDER                              labelme's JSON files
    pictures:FOLDER                             images alone

Items come in a source's order or as key=value, for each of its settings; those that are lists are
joined by semicolons (`names=cat;dog`, `columns=path;what;l;t;r;b`, `colors=#000000;#ff0000`). A
path may hold commas and equals signs if it exists; anything may if it stands in double quotes:
`coco:"a,b.json","photos=1"`.
"""

import dataclasses
import pathlib
import re
from typing import Any

from vision_jax.config import UserError, suggest
from vision_jax.data.coco_folder import CocoFolder
from vision_jax.data.image_folder import ImageFolder
from vision_jax.data.labelme import Labelme
from vision_jax.data.mask_folder import Colors, MaskFolder
from vision_jax.data.photographs import PictureFolder
from vision_jax.data.sources import Source
from vision_jax.data.tables import Csv
from vision_jax.data.tfds import TFDS
from vision_jax.data.voc_folder import VocFolder
from vision_jax.data.yolo_folder import Yolo

KINDS: dict[str, type[Any]] = {
    "tfds": TFDS,
    "coco": CocoFolder,
    "voc": VocFolder,
    "csv": Csv,
    "folder": ImageFolder,
    "masks": MaskFolder,
    "yolo": Yolo,
    "labelme": Labelme,
    "pictures": PictureFolder,
}
_IN_ORDER = (str, str | None, bool)  # settings that need no key, as those without a default
_SETTING = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PIECE = re.compile(r'(?:"[^"]*"|[^,"])+')
_COLOR = re.compile(r"#?([0-9a-fA-F]{6})")


def source_from_text(text: str, **settings: Any) -> Source:
    """Opens the source that a text names.

    Args:
      text: 'KIND:ITEM,ITEM,key=value', see the module.
      **settings: further settings of the source, used where the text says nothing of them. Without
        `fields` a TFDS data set gives its objects where it has any, else its labels.

    Raises:
      UserError: an unknown kind or setting, or a defect that the source itself reports.
    """
    kind, given = parse(text)
    known = {field.name for field in dataclasses.fields(kind)}
    chosen = {**{key: value for key, value in settings.items() if key in known}, **given}
    if kind is not TFDS or "fields" in chosen:
        return kind(**chosen)
    try:
        return TFDS(**chosen, fields=("objects",))
    except UserError as error:
        if "has no 'objects/" not in str(error):
            raise
        return TFDS(**chosen)


def parse(text: str, near: tuple[str, ...] = ()) -> tuple[type[Any], dict[str, Any]]:
    """Returns the class of the source that a text names, and the settings that it gives.

    Args:
      text: see the module.
      near: words that stand beside the text where it was written; a message may suggest them.

    Raises:
      UserError: an unknown kind or setting, or one that is missing.
    """
    name, colon, rest = text.partition(":")
    if not colon:
        raise UserError(f"source {text!r}: write KIND:…, KIND being one of {', '.join(KINDS)}")
    if name not in KINDS:
        raise UserError(f"source {text!r}: unknown kind {name!r}{suggest(name, KINDS)}")
    kind = KINDS[name]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    in_order = [f for f in fields.values() if not f.kw_only and (f.type in _IN_ORDER or _needed(f))]
    order = iter([field.name for field in in_order])
    settings: dict[str, Any] = {}
    if rest.count('"') % 2:
        raise UserError(f"source {text!r}: a quotation mark has no partner")
    pieces = _PIECE.findall(rest)
    while pieces:
        key, value, count = _item(text, pieces, list(fields), near)
        key = next(order, "") if key is None else key
        if not key:
            raise UserError(f"source {text!r}: too many items")
        if key in settings:
            raise UserError(f"source {text!r}: {key} is given twice")
        settings[key] = _read(text, key, value, fields[key].type)
        del pieces[:count]
    missing = [key for key, field in fields.items() if _needed(field) and key not in settings]
    if missing:
        raise UserError(f"source {text!r}: {', '.join(missing)} is missing")
    return kind, settings


def _needed(field: dataclasses.Field) -> bool:
    """Returns whether a setting has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _item(
    text: str, pieces: list[str], known: list[str], near: tuple[str, ...]
) -> tuple[str | None, str, int]:
    """Returns the first item's key (None without one) and value, and how many pieces it takes.

    It takes as many as name an existing path together, else one.
    """
    for count in range(len(pieces), 0, -1):
        item = ",".join(pieces[:count])
        match = _SETTING.fullmatch(item)
        key = match[1] if match and match[1] in known else None
        value = (match[2] if match and key else item).replace('"', "")
        if _exists(value):
            return key, value, count
    if match and not key:
        raise UserError(
            f"source {text!r}: no setting {match[1]!r}{suggest(match[1], [*known, *near])} (if "
            f"{item!r} is a path, it does not exist)"
        )
    return key, value, 1


def _exists(path: str) -> bool:
    try:
        return pathlib.Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, no such home
        return False


def _read(text: str, key: str, value: str, kind: Any) -> Any:
    """Returns a setting's value, read as its type.

    Raises:
      UserError: names setting and value.
    """
    if kind is bool:
        if value.lower() not in ("true", "false", "1", "0"):
            raise UserError(f"source {text!r}: {key}={value!r} is neither true nor false")
        return value.lower() in ("true", "1")
    if kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            raise UserError(f"source {text!r}: {key}={value!r} is no number") from None
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in value.split(";") if part.strip())
    if kind == Colors:
        colors = [_COLOR.fullmatch(part.strip()) for part in value.split(";")]
        if not all(colors):
            raise UserError(f"source {text!r}: {key}={value!r}: write #ff0000;#00ff00;…")
        return tuple(tuple(bytes.fromhex(color[1])) for color in colors if color)
    if kind not in (str, str | None):
        raise UserError(f"source {text!r}: {key} cannot be written in a text")
    return value
