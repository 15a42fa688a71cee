"""Changes of an image under which proposals should stay as they are (Hosang et al. 2016, 3).

The kinds are the paper's; the levels are this project's choice within its ranges.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vision_jax.config import UserError

# Each kind's levels, and what a level is.
LEVELS: dict[str, tuple[float, ...]] = {
    "blur": (1.0, 2.0, 4.0),  # standard deviation, pixels
    "jpeg": (50.0, 20.0, 5.0),  # quality
    "scale": (0.5, 0.75, 1.5),  # factor of the sides
    "rotation": (5.0, 10.0, 20.0),  # degrees
    "light": (0.5, 0.75, 1.5),  # factor of the brightness
    "noise": (0.001, 0.003, 0.01),  # share of pixels that become black or white
}


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """A change of an image of one kind.

    Attributes:
      kind, level: see `LEVELS`.

    Raises:
      UserError: an unknown kind, or a level that is not above 0.
    """

    kind: str
    level: float

    def __post_init__(self):
        if self.kind not in LEVELS:
            raise UserError(f"perturbation {self.kind!r} is not one of {', '.join(LEVELS)}")
        if self.level <= 0:
            raise UserError(f"perturbation {self.kind}: level {self.level} must be above 0")

    def __call__(
        self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0
    ) -> UInt8[np.ndarray, "_h _w 3"]:
        """Changes an image; of another size only by 'scale'.

        Args:
          seed: of the noise; the other kinds draw nothing.
        """
        height, width = rgb.shape[:2]
        match self.kind:
            case "blur":
                return cv2.GaussianBlur(rgb, (0, 0), self.level)
            case "jpeg":
                options = [cv2.IMWRITE_JPEG_QUALITY, round(self.level)]
                _, written = cv2.imencode(".jpg", rgb[..., ::-1], options)
                return cv2.imdecode(written, cv2.IMREAD_COLOR_RGB)
            case "scale":
                shape = [max(1, round(side * self.level)) for side in (width, height)]
                kind = cv2.INTER_AREA if self.level < 1 else cv2.INTER_LINEAR
                return cv2.resize(rgb, shape, interpolation=kind)
            case "rotation":
                border = cv2.BORDER_REFLECT_101
                turn = self._turn(height, width)
                return cv2.warpAffine(rgb, turn, (width, height), borderMode=border)
            case "light":
                return (rgb * np.float32(self.level)).clip(0, 255).astype(np.uint8)
        random = np.random.default_rng(seed)
        hit = random.random((height, width)) < self.level
        values = random.choice(np.array([0, 255], np.uint8), (height, width, 1))
        return np.where(hit[..., None], values, rgb)

    def back(
        self, boxes: Float[np.ndarray, "n 4"], height: int, width: int
    ) -> Float[np.ndarray, "n 4"]:
        """Moves boxes of the changed image to where they were in the one of this size.

        A turned box has its centre turned back and keeps its sides.
        """
        if self.kind == "scale":
            shape = [max(1, round(side * self.level)) for side in (width, height)]
            return boxes * np.tile(np.array([width, height]) / shape, 2)
        if self.kind == "rotation":
            there = cv2.invertAffineTransform(self._turn(height, width))
            half = (boxes[:, 2:] - boxes[:, :2]) / 2
            center = (boxes[:, 2:] + boxes[:, :2]) / 2 - 0.5  # of pixels, as OpenCV counts
            center = center @ there[:, :2].T + there[:, 2] + 0.5
            return np.concatenate([center - half, center + half], 1)
        return boxes

    def _turn(self, height: int, width: int) -> np.ndarray:
        return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), self.level, 1.0)
