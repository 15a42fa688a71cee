"""Draws pictures: pure functions from arrays to RGB images, uint8 (h, w, 3).

Nothing here writes a file. Matplotlib is imported where a curve is drawn, not before.
"""

from vision_jax.visualize.attended import attended_words, draw_attended_words
from vision_jax.visualize.boxes import draw_boxes
from vision_jax.visualize.curves import bars, bubbles, confusion, curves, scatter
from vision_jax.visualize.detection import (
    COCO_SKELETON,
    draw_detections,
    draw_keypoints,
    draw_masks,
)
from vision_jax.visualize.matches import MATCH_LEGEND, draw_matches
from vision_jax.visualize.panels import enlarge, fit, legend, panel, predictions, text, to_rgb
from vision_jax.visualize.semantic import draw_semantic, original_labels, voc_palette
from vision_jax.visualize.slots import draw_slots
from vision_jax.visualize.targets import draw_targets

__all__ = [
    "COCO_SKELETON",
    "MATCH_LEGEND",
    "attended_words",
    "bars",
    "bubbles",
    "confusion",
    "curves",
    "draw_attended_words",
    "draw_boxes",
    "draw_detections",
    "draw_keypoints",
    "draw_masks",
    "draw_matches",
    "draw_semantic",
    "draw_slots",
    "draw_targets",
    "enlarge",
    "fit",
    "legend",
    "original_labels",
    "panel",
    "predictions",
    "scatter",
    "text",
    "to_rgb",
    "voc_palette",
]
