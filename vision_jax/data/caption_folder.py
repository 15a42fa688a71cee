"""Images with captions, as Karpathy's split files list them for Flickr8k, Flickr30k and COCO."""

import dataclasses
import functools
import pathlib
from typing import Any

from vision_jax.config import UserError, suggest
from vision_jax.data.checked_values import filled, identifier, printable, shown
from vision_jax.data.folders import Folder, Listed, file_at, folder_at, read_json
from vision_jax.data.sources import Source, Wrapped


@dataclasses.dataclass(frozen=True)
class CaptionFolder(Folder):
    """Images in a folder, with a JSON file of captions and splits (Karpathy & Fei-Fei 2015).

    The file is an object with a list `images`; an entry has `filename`, `sentences` with the text
    `raw` each (or their `tokens`), and may have `filepath` (a folder below the images'), `split`,
    and `cocoid` or `imgid`. COCO's own files of captions are read by
    `CocoFolder(fields=('captions',))`.

    Attributes:
      annotations: the JSON file, such as `dataset_flickr8k.json` or `dataset_coco.json`.
      images: the folder of the images.
      split: 'train', 'val', 'test', or several joined by '+', such as 'train+restval', which COCO's
        training is; '' is all images.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such file, folder or split, JSON that is damaged or lacks what is needed, an
        image that is not there or is listed twice; it names file and entry.
    """

    annotations: str
    images: str
    split: str = ""

    @property
    def _annotations(self) -> str:
        return self.annotations

    def image_id(self, i: int) -> int | str:
        """Returns the image's `cocoid`, by which COCO's results go; else its name's stem."""
        own = self._listed[i].fields["image_id"]
        return self._listed[i].file.stem if own is None else own

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        folder, entries = folder_at(self.images), self._entries()
        chosen = [part.strip() for part in self.split.split("+")] if self.split else []
        known = sorted({str(entry["split"]) for entry in entries if "split" in entry})
        for part in chosen:
            if part not in known:
                none = "" if known else " (no entry has one)"
                raise UserError(
                    f"{self.annotations}: no image has the split {part!r}"
                    f"{suggest(part, known)}{none}"
                )
        listed: list[Listed] = []
        rows: dict[pathlib.Path, int] = {}
        for row, entry in enumerate(entries):
            if chosen and entry.get("split") not in chosen:
                continue
            try:
                item = _listed(folder, entry)
                if (first := rows.setdefault(item.file, row)) != row:
                    raise ValueError(f"images[{first}] is the same image {item.file}")
            except (KeyError, ValueError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else error
                raise UserError(f"{self.annotations}, images[{row}]: {reason}") from error
            listed.append(item)
        return (), listed

    def _entries(self) -> list[dict[str, Any]]:
        """Returns the file's list of images."""
        tree = read_json(self.annotations)
        entries = tree.get("images") if isinstance(tree, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{self.annotations}: no list 'images'; is it a file of captions?")
        if isinstance(tree.get("annotations"), list):
            raise UserError(
                f"{self.annotations}: it is in COCO's own format; read it by "
                "CocoFolder(fields=('captions',))"
            )
        for row, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise UserError(f"{self.annotations}, images[{row}] is {shown(entry)}, no object")
        return entries


def _listed(folder: pathlib.Path, entry: dict[str, Any]) -> Listed:
    """Reads an entry; raises KeyError or ValueError for what is missing or malformed."""
    name = filled(entry["filename"], "filename")
    below = entry.get("filepath")
    names = [name]
    if below is not None:
        names.insert(0, f"{filled(below, 'filepath')}/{name}")
    file = None
    for spelling in names:  # images of COCO's folders may have been put into one
        try:
            file = file_at(folder, spelling)
            break
        except ValueError as error:
            missing = error
    if file is None:
        raise missing
    number = identifier(entry.get("cocoid"), "cocoid")
    sentences = entry["sentences"]
    if not isinstance(sentences, list):
        raise ValueError(f"sentences is {shown(sentences)}, not a list")
    captions = [_text(sentence, place) for place, sentence in enumerate(sentences)]
    return Listed(file, {"image_id": number, "captions": captions})


def _text(sentence: Any, place: int) -> str:
    """Returns a sentence's text: as it was written, else its words."""
    name = f"sentences[{place}]"
    if isinstance(sentence, str):
        return filled(sentence, name)
    if not isinstance(sentence, dict):
        raise ValueError(f"{name} is {shown(sentence)}, neither an object nor a text")
    if "raw" in sentence:
        return filled(sentence["raw"], f"{name}.raw")
    words = sentence.get("tokens")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{name} has neither a text 'raw' nor a list 'tokens'")
    return filled(" ".join(words), f"{name}.tokens")


def captions_of(source: Source) -> list[list[str]]:
    """Returns the captions of each example of a source; of folders, without reading images.

    Raises:
      UserError: the source has no field 'captions'.
    """
    if isinstance(source, Wrapped):
        within = captions_of(source.source)
        return [within[source.position(i)] for i in range(len(source))]
    if isinstance(source, Folder):
        captions = [source.annotated(i).get("captions") for i in range(len(source))]
    else:
        captions = [source[i].get("captions") for i in range(len(source))]
    for i, own in enumerate(captions):
        if own is None:
            raise UserError(
                f"{printable(source.describe(i))}: no captions; is 'captions' among the fields?"
            )
    return [list(own) for own in captions if own is not None]
