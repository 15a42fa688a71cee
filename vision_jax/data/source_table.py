"""The doctor's table of a source: images, classes, boxes, masks, and priors that fit the boxes."""

import numpy as np

from vision_jax.data import box_shapes
from vision_jax.data.checked_values import printable
from vision_jax.data.loading import degenerate_boxes
from vision_jax.data.source_checks import Checked

_CLASSES = 30  # classes that are told
_PRIORS = 9  # as YOLO v3 has
_BAR = 24  # characters of the longest bar
_SMALL, _LARGE = 32.0, 96.0  # COCO's limits of small and large objects, side in pixels


def table(checked: Checked, size: int) -> list[str]:
    """Returns the lines of a source's table.

    Args:
      checked: the source after its check.
      size: side of the network's square input, which images are fitted into, in pixels.
    """
    if not len(checked.sizes):
        return ["no image can be read"]
    lines = [_summary(checked), *_images(checked), *_classes(checked)]
    return lines + _objects(checked, size) if checked.unit == "object" else lines


def _summary(checked: Checked) -> str:
    """Returns a line of the smallest and the largest image, and of the classes' counts."""
    ordered = sorted(checked.sizes.tolist(), key=lambda size: (size[0] * size[1], size))
    (h0, w0), (h1, w1) = ordered[0], ordered[-1]
    sizes = f"size {w0}×{h0}" if (h0, w0) == (h1, w1) else f"sizes {w0}×{h0} to {w1}×{h1}"
    if not checked.unit:
        return sizes
    pairs = list(zip(checked.classes, checked.counts.tolist(), strict=True))
    counts = ", ".join(f"{printable(name)} {count}" for name, count in pairs[:_CLASSES])
    more = f", … ({len(pairs) - _CLASSES} more)" if len(pairs) > _CLASSES else ""
    return f"{sizes}; {checked.unit}s: {counts}{more}"


def _images(checked: Checked) -> list[str]:
    """Returns lines of the images' sides and shapes."""
    height, width = checked.sizes.T
    lines = [
        f"images: width {_spread(width)}; height {_spread(height)}; width / height "
        f"{_spread(width / height)} (10 %, median, 90 %)"
    ]
    if stated := checked.tallies.get("stated", 0):
        lines.append(f"sizes: {stated} of {len(checked.sizes)} are stated, and are the files' own")
    return lines


def _classes(checked: Checked) -> list[str]:
    """Returns the classes' histogram, the most frequent first."""
    if not checked.unit or not checked.counts.sum():
        return []
    rows = [("class", f"{checked.unit}s", "share", "images", "")]
    for k in np.argsort(-checked.counts, kind="stable")[:_CLASSES]:
        share = checked.counts[k] / checked.counts.sum()
        bar = "#" * round(_BAR * checked.counts[k] / checked.counts.max())
        name, images = printable(checked.classes[k], 40), str(checked.images_of_class[k])
        rows.append((name, str(checked.counts[k]), f"{share:.1%}", images, bar))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"{row[0].ljust(widths[0])}  "
        + "  ".join(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:], strict=True))
        + f"  {row[4]}".rstrip()
        for row in rows
    ]


def _objects(checked: Checked, size: int) -> list[str]:
    """Returns lines of objects per image, boxes, masks, keypoints and priors."""
    counts = checked.objects_per_image
    beyond = int((counts > checked.max_boxes).sum())
    lines = [
        f"objects in an image: {_spread(counts)}, at most {counts.max()}; none in "
        f"{int((counts == 0).sum())}, more than {checked.max_boxes} in {beyond} images"
    ]
    tallies = {"mask": "masks", "keypoints": "keypoints", "crowd": "crowds"}
    told = [
        f"{name}: {checked.tallies[key]} of {checked.objects} objects"
        for key, name in tallies.items()
        if checked.tallies.get(key)
    ]
    lines += ["; ".join(told)] if told else []
    sides = _sides(checked, size)
    if not len(sides):
        return lines
    root = np.sqrt(sides.prod(1))
    small, large = (root < _SMALL).mean(), (root >= _LARGE).mean()
    lines += [
        f"boxes, images fitted into {size}×{size}: square root of area {_spread(root)} pixels; "
        f"below {_SMALL:.0f} {small:.0%}, from {_LARGE:.0f} {large:.0%}",
        f"boxes' width / height: {_spread(sides[:, 0] / sides[:, 1])}",
        _priors(sides),
    ]
    return lines


def _sides(checked: Checked, size: int) -> np.ndarray:
    """Returns widths and heights (n, 2) of the boxes that can be learnt, as the network sees them.

    They are cut at their images.
    """
    height, width = checked.box_sizes.T
    limits = np.stack([width, height, width, height], 1)
    good = ~degenerate_boxes(checked.boxes, height, width)
    boxes = checked.boxes[good].clip(0, limits[good])
    return box_shapes.letterboxed(boxes, checked.box_sizes[good], size, size)


def _priors(sides: np.ndarray) -> str:
    """Returns a line of priors, and of how well they fit."""
    priors = box_shapes.kmeans(sides, _PRIORS)
    shapes = ", ".join(f"{width:.0f}×{height:.0f}" for width, height in priors)
    ratios = ", ".join(f"{ratio:g}" for ratio in box_shapes.anchor_ratios(sides))
    fit = box_shapes.mean_best_iou(sides, priors)
    return (
        f"priors by k-means (1 - IoU): {shapes}; mean IoU {fit:.2f}; anchors' height / width "
        f"{ratios}"
    )


def _spread(values: np.ndarray) -> str:
    """Returns a tenth, the median and nine tenths of some numbers; one number if they are equal."""
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    if values.min() == values.max():
        return f"{middle:.3g}" if middle < 100 else f"{middle:.0f}"
    return " … ".join(f"{v:.3g}" if v < 100 else f"{v:.0f}" for v in (low, middle, high))
