"""Data sets of your own for semantic segmentation: a folder of images and a folder of masks."""

import dataclasses
import functools
import pathlib

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.decode import MaskError, decode_image, decode_labels, orientation, upright
from vision_jax.data.folders import Folder, Listed, folder_at, images_below
from vision_jax.data.geometry import VOID
from vision_jax.data.sources import Example

_SAMPLED = 32  # masks that tell whether values are classes, or black and white
_BINARY = (0, 255)
_VOID_16 = 65535

Colors = tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True)
class MaskFolder(Folder):
    """Images, and a mask of the same name for each: `images/1.jpg` and `masks/1.png`.

    A mask's values are classes: a palette's indices, gray values of 8 or 16 bits, or colours that
    `colors` lists. Black and white masks (0 and 255 alone, and two classes) are background and
    class 1. A mask has its image's size. Sub-folders are read too, and are alike in both.

    Attributes:
      images: the folder of the images.
      masks: the folder of the masks; the same folder as `images` needs a `suffix`.
      names: the classes, in the order of their labels, background among them.
      colors: the colour (red, green, blue) of each class, for masks in colour.
      void: the value of pixels that belong to no class, -1 for none; with `colors`, pixels of
        other colours are void if it is -1, and an error else.
      suffix: the end that masks' names have more than their images': '_mask' for `1_mask.png`.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such folder, an image without a mask or the other way round, fewer than two
        classes, or another number of colours than of classes.
    """

    images: str
    masks: str
    names: tuple[str, ...]
    colors: Colors = ()
    void: int = VOID
    suffix: str = ""

    def __post_init__(self):
        if not 2 <= len(self.names) <= VOID:
            raise UserError(
                f"{len(self.names)} names: name two to {VOID} classes, background among them"
            )
        if self.colors and len({*self.colors}) != len(self.names):
            raise UserError(f"{len({*self.colors})} different colors for {len(self.names)} names")
        super().__post_init__()

    @property
    def _annotations(self) -> str:
        return self.images

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        images_folder, masks_folder = folder_at(self.images), folder_at(self.masks)
        same = images_folder.samefile(masks_folder)
        if same and not self.suffix:
            raise UserError(
                f"images and masks are both in {self.images}: set suffix, such as '_mask'"
            )
        masks = {
            stem.removesuffix(self.suffix): path
            for stem, path in _by_stem(images_below(masks_folder), masks_folder).items()
            if stem.endswith(self.suffix)
        }
        apart = [
            path
            for path in images_below(images_folder)
            if not (path.stem.endswith(self.suffix) if same else masks_folder in path.parents)
        ]
        images = _by_stem(apart, images_folder)
        for these, those, there in (
            (images, masks, f"mask in {self.masks}"),
            (masks, images, f"image in {self.images}"),
        ):
            if missing := sorted(these.keys() - those.keys()):
                more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise UserError(f"{these[missing[0]]}: no {there}{more}")
        listed = [Listed(images[stem], {"segmentation": masks[stem]}) for stem in sorted(images)]
        return tuple(self.names), listed

    def __getitem__(self, i: int) -> Example:
        example = super().__getitem__(i)
        mask = example["segmentation"]
        try:
            data = mask.read_bytes()
            labels = self._of_colors(data) if self.colors else self._of_values(data)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise MaskError(f"{self.describe(i)}: {mask}: {reason}") from error
        return {
            **example,
            "segmentation": upright(labels, orientation(data)) if self.upright else labels,
        }

    def _of_values(self, data: bytes) -> np.ndarray:
        """Returns a mask's labels (h, w) uint8, VOID where there is none."""
        values = _values(data)
        if self._is_binary:
            if (wrong := ~np.isin(values, _BINARY)).any():
                raise ValueError(
                    f"the mask has the value {values[wrong][0]}, others have 0 and 255 alone"
                )
            return (values == _BINARY[1]).astype(np.uint8)
        void = values == self.void
        if self.void >= 0:
            void |= values == _VOID_16
        wrong = ~void & (values >= len(self.names))
        if wrong.any():
            raise ValueError(
                f"the mask has the value {values[wrong][0]}, but there are {len(self.names)} "
                f"classes, and void is {self.void}"
            )
        return np.where(void, VOID, values).astype(np.uint8)

    def _of_colors(self, data: bytes) -> np.ndarray:
        """Returns the labels of a mask in colour."""
        pixels = decode_image(data).astype(np.int64)
        codes = pixels @ [1 << 16, 1 << 8, 1]
        labels = np.full(codes.shape, VOID, np.uint8)
        known = np.zeros(codes.shape, bool)
        for label, (red, green, blue) in enumerate(self.colors):
            here = codes == (red << 16) + (green << 8) + blue
            labels[here], known[here] = label, True
        if self.void >= 0 and not known.all():
            color = tuple(int(value) for value in pixels[~known][0])
            raise ValueError(
                f"the mask has the colour {color}, which is not among colors; void=-1 takes such "
                "pixels as void"
            )
        return labels

    @functools.cached_property
    def _is_binary(self) -> bool:
        """Whether masks are black and white, so that 255 is a class and not void."""
        if len(self.names) != 2:
            return False
        values: set[int] = set()
        for listed in self._listed[:_SAMPLED]:
            try:
                values |= {*np.unique(_values(listed.fields["segmentation"].read_bytes())).tolist()}
            except (ValueError, OSError):
                continue  # told of when the image is asked for
        return _BINARY[1] in values and values <= {*_BINARY}


def _values(data: bytes) -> np.ndarray:
    """Returns a mask's values (h, w) int64; colours that are all gray are one value each.

    Raises:
      ValueError: bytes that are no image, or a mask in colour.
    """
    try:
        return decode_labels(data).astype(np.int64)
    except ValueError as error:
        if "one channel" not in str(error):
            raise
    pixels = decode_image(data)
    if (pixels != pixels[..., :1]).any():
        raise ValueError("the mask is in colour; list the classes' colours in colors")
    return pixels[..., 0].astype(np.int64)


def _by_stem(files: list[pathlib.Path], folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns images by their path in the folder without suffix.

    Raises:
      UserError: two images of one name.
    """
    stems: dict[str, pathlib.Path] = {}
    for file in files:
        stem = file.relative_to(folder).with_suffix("").as_posix()
        if stem in stems:
            raise UserError(f"{file} and {stems[stem].name}: two images of one name; rename one")
        stems[stem] = file
    return stems
