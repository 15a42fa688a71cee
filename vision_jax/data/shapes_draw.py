"""Draws the scenes of the embedded `shapes` data set with numpy and OpenCV, without TFDS.

A scene is a textured background, clutter strokes, and flat shapes painted one over the other, under
uneven light and with noise. Colour, texture, size, place and pose are drawn independently of the
class, and a shape is as often darker as lighter than what is behind it: only its form tells.
"""

import dataclasses

import cv2
import numpy as np

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "pentagon")
# The extremes are those of the outline as it lies in the image, so mirroring swaps right and left.
KEYPOINTS = ("centre", "top", "right", "bottom", "left")
KEYPOINT_MIRROR = (0, 1, 4, 3, 2)
COLOURS = {
    "black": (25, 25, 28),
    "white": (235, 235, 230),
    "gray": (128, 128, 128),
    "red": (205, 40, 40),
    "orange": (235, 135, 35),
    "yellow": (225, 210, 50),
    "green": (50, 150, 60),
    "blue": (40, 80, 200),
    "purple": (130, 50, 160),
    "pink": (240, 150, 190),
}
VOID = 255
_SUPERSAMPLE = 4
_HIDDEN = 0.3  # a shape of which less than this is visible is difficult


@dataclasses.dataclass(frozen=True)
class Look:
    """The difficulty of scenes. Lengths are fractions of the image's side."""

    size: int = 64  # side of the square image, pixels
    shapes: tuple[int, int] = (1, 3)  # how many shapes, inclusive
    radius: tuple[float, float] = (0.12, 0.3)  # drawn log-uniformly
    spread: float = 0.35  # centres lie within ± this of the image's centre
    turn: float = 180.0  # largest rotation, degrees
    stretch: float = 1.3  # largest ratio of the axes
    strokes: tuple[int, int] = (1, 4)  # clutter lines behind the shapes, inclusive
    contrast: float = 110.0  # least RGB distance of a shape's colour from the background's
    texture: float = 30.0  # grey levels of pattern in background and shapes
    light: float = 0.25  # strength of the lighting gradient
    noise: float = 6.0  # standard deviation, grey levels
    crowd: float = 0.0  # probability that a group of touching tiny shapes joins the scene
    void: bool = False  # whether the segmentation marks mixed boundary pixels as VOID


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape (or one crowd) as painted, before anything covers it."""

    label: int
    colour: str
    radius: float  # fraction of the image's side
    centre: np.ndarray  # (2,) x, y in pixels
    outline: np.ndarray  # (n, 2) x, y in pixels, over all contours
    alpha: np.ndarray  # (h, w) float32 coverage in [0, 1]
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image and everything known about it, without the shapes that are hidden altogether."""

    image: np.ndarray  # (h, w, 3) uint8 RGB
    shapes: tuple[Shape, ...]  # in painter's order
    masks: np.ndarray  # (n, h, w) bool, the visible part of each shape
    difficult: np.ndarray  # (n,) bool
    keypoints: np.ndarray  # (n, 5, 3) float32 x, y, visibility: 0 outside, 1 covered, 2 visible
    segmentation: np.ndarray  # (h, w) uint8: 0 background, class + 1, VOID
    captions: tuple[str, ...]

    @property
    def label(self) -> int:
        """The class of the shape that shows the most pixels."""
        return self.shapes[int(self.masks.sum((1, 2)).argmax())].label


def draw(look: Look, rng: np.random.Generator, label: int) -> Scene:
    """Draws a scene whose first-drawn shape has the class `label`; all else comes from `rng`."""
    backdrop, pattern = str(rng.choice(list(COLOURS))), rng.random()
    canvas = _fill(look, rng, backdrop, pattern)
    for _ in range(rng.integers(look.strokes[0], look.strokes[1] + 1)):
        _stroke(canvas, look, rng, backdrop)
    count = rng.integers(look.shapes[0], look.shapes[1] + 1)
    labels = [label, *rng.integers(len(CLASSES), size=count - 1)]
    shapes = [_shape(look, rng, int(k), backdrop) for k in rng.permutation(labels)]
    if rng.random() < look.crowd:
        shapes.insert(int(rng.integers(count + 1)), _crowd(look, rng, backdrop))
    for shape in shapes:
        fill = _fill(look, rng, shape.colour, rng.random())
        canvas += shape.alpha[..., None] * (fill - canvas)
    scene = _annotate(look, shapes, f"{'striped' if pattern < 0.5 else 'plain'} {backdrop}")
    return dataclasses.replace(scene, image=_photograph(canvas, look, rng))


def _contours(label: int) -> list[np.ndarray]:
    """Returns a class's outline in the unit circle, to be filled by the even-odd rule."""
    name = CLASSES[label]
    if name == "circle":
        return [_polygon(40)]
    if name == "ring":
        return [_polygon(40), 0.55 * _polygon(40)]
    if name == "star":
        return [_polygon(10) * np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]]
    if name == "cross":
        a, b = 0.95, 0.3
        arm = np.array([(-b, -a), (b, -a), (b, -b)])
        quarter = np.array([(0.0, 1.0), (-1.0, 0.0)])
        return [np.concatenate([arm @ np.linalg.matrix_power(quarter, k) for k in range(4)])]
    if name == "crescent":
        outer = np.linspace(0.25 * np.pi, 1.75 * np.pi, 30)
        inner = np.linspace(1.65 * np.pi, 0.35 * np.pi, 24)
        bite = 0.8 * np.stack([np.cos(inner), np.sin(inner)], -1) + (0.35, 0.0)
        return [np.concatenate([np.stack([np.cos(outer), np.sin(outer)], -1), bite])]
    if name == "square":
        return [np.sqrt(0.5) * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1.0)])]
    return [_polygon({"triangle": 3, "pentagon": 5}[name])]


def _polygon(corners: int) -> np.ndarray:
    """Returns the corners (n, 2) of a regular polygon in the unit circle, the first on top."""
    angle = 2 * np.pi * np.arange(corners) / corners - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _shape(look: Look, rng: np.random.Generator, label: int, backdrop: str) -> Shape:
    """Draws size, place, pose and colour of a shape."""
    low, high = np.log(look.radius)
    radius = float(np.exp(rng.uniform(low, high)))
    centre = look.size * (0.5 + rng.uniform(-look.spread, look.spread, 2))
    colour = _contrasting(look, rng, backdrop)
    contours = _place(look, rng, label, radius, centre)
    return Shape(
        label, colour, radius, centre, np.concatenate(contours), _coverage(contours, look.size)
    )


def _crowd(look: Look, rng: np.random.Generator, backdrop: str) -> Shape:
    """Draws six to ten tiny shapes of one class and colour in a touching row."""
    label, colour = int(rng.integers(len(CLASSES))), _contrasting(look, rng, backdrop)
    radius = look.radius[0] * 0.7
    centre = look.size * (0.5 + rng.uniform(-look.spread, look.spread, 2))
    heading = rng.uniform(0, 2 * np.pi)
    contours = []
    for _ in range(rng.integers(6, 11)):
        contours.append(_place(look, rng, label, radius, centre))
        heading += rng.uniform(-0.8, 0.8)
        step = 1.6 * radius * look.size * np.array([np.cos(heading), np.sin(heading)])
        if np.any(np.abs(centre + step - look.size / 2) > look.size * 0.45):
            heading, step = heading + np.pi / 2, np.array([-step[1], step[0]])
        centre = centre + step
    alpha = np.max([_coverage(member, look.size) for member in contours], axis=0)
    outline = np.concatenate([c for member in contours for c in member])
    return Shape(label, colour, radius, outline.mean(0), outline, alpha, crowd=True)


def _place(
    look: Look, rng: np.random.Generator, label: int, radius: float, centre: np.ndarray
) -> list[np.ndarray]:
    """Returns the class's contours in pixels, stretched and turned at random."""
    angle = np.deg2rad(rng.uniform(-look.turn, look.turn))
    ratio = np.exp(rng.uniform(-1, 1) * np.log(look.stretch) / 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scale = radius * look.size * np.array([ratio, 1 / ratio])
    return [(contour * scale) @ turn + centre for contour in _contours(label)]


def _coverage(contours: list[np.ndarray], size: int) -> np.ndarray:
    """Returns (size, size) float32: each pixel's covered part; pixel x spans [x, x + 1)."""
    fine = np.zeros((size * _SUPERSAMPLE, size * _SUPERSAMPLE), np.uint8)
    points = [np.round((c * _SUPERSAMPLE - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(fine, points, 255, shift=4)
    return cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _contrasting(look: Look, rng: np.random.Generator, backdrop: str) -> str:
    """Draws a colour that differs enough from the background's."""
    base = np.array(COLOURS[backdrop], float)
    far = [n for n, c in COLOURS.items() if np.linalg.norm(base - c) >= look.contrast]
    return str(rng.choice(far))


def _fill(look: Look, rng: np.random.Generator, colour: str, pattern: float) -> np.ndarray:
    """Returns (h, w, 3) float32: the colour, a little off, with clouds and perhaps stripes."""
    base = np.array(COLOURS[colour], np.float32) + rng.uniform(-12, 12, 3).astype(np.float32)
    grain = np.zeros((look.size, look.size), np.float32)
    for cells, weight in ((3, 1.0), (6, 0.6), (12, 0.4)):
        coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        grain += weight * cv2.resize(coarse, grain.shape, interpolation=cv2.INTER_CUBIC)
    if pattern < 0.5:
        angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 8)
        ramp = (np.arange(look.size, dtype=np.float32) / look.size - 0.5) * 2 * np.pi * waves
        grain += np.sin(ramp * np.cos(angle) + (ramp * np.sin(angle))[:, None] + rng.uniform(0, 6))
    return base + look.texture * 0.5 * grain[..., None]


def _stroke(canvas: np.ndarray, look: Look, rng: np.random.Generator, backdrop: str) -> None:
    """Draws one line of clutter onto the canvas."""
    colour = np.array(COLOURS[_contrasting(look, rng, backdrop)], float)
    start, end = rng.uniform(-0.1, 1.1, (2, 2)) * look.size * 16
    width = max(1, round(look.size * rng.uniform(0.015, 0.05)))
    x0, y0, x1, y1 = (int(v) for v in (*start, *end))
    cv2.line(canvas, (x0, y0), (x1, y1), colour.tolist(), width, cv2.LINE_AA, shift=4)


def _photograph(canvas: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Adds uneven light and noise, and rounds to uint8."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.arange(look.size, dtype=np.float32) / look.size - 0.5
    light = 1 + look.light * (ramp * np.cos(angle) + (ramp * np.sin(angle))[:, None])
    grain = rng.standard_normal(canvas.shape, np.float32) * look.noise
    return np.clip(canvas * light[..., None] + grain + 0.5, 0, 255).astype(np.uint8)


def _annotate(look: Look, shapes: list[Shape], backdrop: str) -> Scene:
    """Works out all that is known of a scene from its shapes; the image is left empty."""
    full = np.stack([s.alpha > 0.5 for s in shapes])
    # later[k]: pixels that shapes painted after k cover.
    later = np.logical_or.accumulate(np.concatenate([full[1:], np.zeros_like(full[:1])])[::-1])
    later = later[::-1]
    masks = full & ~later
    segmentation = np.zeros(full.shape[1:], np.uint8)
    for shape, mask in zip(shapes, masks, strict=True):
        segmentation[mask] = shape.label + 1
    if look.void:
        mixed = np.zeros(full.shape[1:], bool)
        for shape in shapes:
            mixed = (mixed & (shape.alpha < 0.98)) | ((shape.alpha > 0.02) & (shape.alpha < 0.98))
        segmentation[mixed] = VOID
    keep = np.flatnonzero(masks.any((1, 2)))
    return Scene(
        image=np.zeros((0, 0, 3), np.uint8),
        shapes=tuple(shapes[k] for k in keep),
        masks=masks[keep],
        difficult=masks[keep].sum((1, 2)) < _HIDDEN * full[keep].sum((1, 2)),
        keypoints=np.stack([_keypoints(shapes[k], later[k]) for k in keep]),
        segmentation=segmentation,
        captions=_captions([shapes[k] for k in keep], backdrop),
    )


def _keypoints(shape: Shape, covered: np.ndarray) -> np.ndarray:
    """Returns (5, 3): x, y, visibility; zeros for a crowd and, as in COCO, for points outside."""
    points = np.zeros((len(KEYPOINTS), 3), np.float32)
    if shape.crowd:
        return points
    points[0, :2] = shape.centre
    for row, axis, sign in ((1, 1, -1), (2, 0, 1), (3, 1, 1), (4, 0, -1)):
        reach = sign * shape.outline[:, axis]
        # The middle of what is within half a pixel: a flat side has no single topmost point.
        points[row, :2] = shape.outline[reach > reach.max() - 0.5].mean(0)
    x, y = np.floor(points[:, :2]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < covered.shape[1]) & (y < covered.shape[0])
    hidden = np.zeros(len(points), bool)
    hidden[inside] = covered[y[inside], x[inside]]
    points[:, 2] = np.where(hidden, 1, 2)
    points[~inside] = 0
    return points


def _captions(shapes: list[Shape], backdrop: str) -> tuple[str, ...]:
    """Describes a scene: its shapes, largest first; their number; how the two largest lie."""
    single = sorted((s for s in shapes if not s.crowd), key=lambda s: -s.radius)
    names = [_name(s) for s in single[:3]]
    if len(single) > 3:
        names.append(f"{len(single) - 3} more")
    listing = ", ".join(names[:-1]) + " and " * (len(names) > 1) + "".join(names[-1:])
    number = ("no", "one", "two", "three", "four", "five", "six")
    count = number[len(single)] if len(single) < len(number) else str(len(single))
    plural = "" if len(single) == 1 else "s"
    captions = [listing] if single else []
    captions.append(f"{count} shape{plural} on a {backdrop} background")
    if len(single) > 1:
        first, second = single[:2]
        side = "left" if first.centre[0] < second.centre[0] else "right"
        captions.append(f"{_name(first)} to the {side} of {_name(second)}")
    groups = [s for s in shapes if s.crowd]
    captions += [f"a row of tiny {s.colour} {CLASSES[s.label]} shapes" for s in groups]
    return tuple(captions)


def _name(shape: Shape) -> str:
    """Names a shape by size, colour and class."""
    size = "small" if shape.radius < 0.14 else "large" if shape.radius > 0.24 else "medium"
    return f"a {size} {shape.colour} {CLASSES[shape.label]}"
