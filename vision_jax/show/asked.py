"""The flags of the looking modes."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the command line asks of a mode that looks; each mode reads what concerns it.

    Attributes:
      input: pictures, a video, a results file, or the input's size, by the mode.
      output: a folder in place of the mode's own in the run folder.
      threshold: the least score of what is told and drawn; None tells everything, and draws what is
        at least as probable as not.
      upright: turn pictures by their EXIF tag, as viewers show them.
      results: write detections as COCO's results.json too.
    """

    input: str | None = None
    output: pathlib.Path | None = None
    threshold: float | None = None
    upright: bool = False
    results: bool = False


NOTHING = Asked()
