"""Reports of runs for people: rows of numbers, progress lines, pages, tables.

While it runs, `Log` writes metrics.jsonl, timing.jsonl, TensorBoard events and progress lines. Then
`write_report` makes one page, and `write_sweep` the tables of many runs. Both read only files, so
that they work after a crash too.
"""

from vision_jax.report.claims import Claim, SweepRow
from vision_jax.report.end_of_run import Watcher, last_lines, save_evaluation, so_far
from vision_jax.report.folder import load_arrays, read_rows, save_arrays, write_atomically
from vision_jax.report.gallery import Gallery
from vision_jax.report.log import Log
from vision_jax.report.page import write_report
from vision_jax.report.summary import wall_seconds
from vision_jax.report.sweep_file import SweepFile, read_sweep
from vision_jax.report.sweeps import WALL, write_sweep
from vision_jax.report.versions import versions

__all__ = [
    "WALL",
    "Claim",
    "Gallery",
    "Log",
    "SweepFile",
    "SweepRow",
    "Watcher",
    "last_lines",
    "load_arrays",
    "read_rows",
    "read_sweep",
    "save_arrays",
    "save_evaluation",
    "so_far",
    "versions",
    "wall_seconds",
    "write_atomically",
    "write_report",
    "write_sweep",
]
