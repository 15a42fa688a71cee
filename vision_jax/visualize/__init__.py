"""Pictures: pure functions from arrays to RGB images, uint8 (h, w, 3).

Nothing here writes a file. Matplotlib is imported where a curve is drawn, not before.
"""

from vision_jax.visualize.boxes import draw_boxes
from vision_jax.visualize.curves import bars, confusion, curves
from vision_jax.visualize.panels import enlarge, panel, predictions, text, to_rgb

__all__ = [
    "bars",
    "confusion",
    "curves",
    "draw_boxes",
    "enlarge",
    "panel",
    "predictions",
    "text",
    "to_rgb",
]
