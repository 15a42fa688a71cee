"""Reports of runs for people: rows of numbers, progress lines, pages, tables.

While it runs, `Log` writes metrics.jsonl, timing.jsonl, TensorBoard events and progress lines. Then
`write_report` makes one page, and `write_sweep` the tables of many runs. Both read only files, so
that they work after a crash too.
"""

from vision_jax.report.end_of_run import Watcher, last_lines, save_evaluation, so_far
from vision_jax.report.folder import load_arrays, read_rows, save_arrays, write_atomically
from vision_jax.report.gallery import Gallery
from vision_jax.report.log import Log
from vision_jax.report.page import write_report
from vision_jax.report.sweeps import Claim, SweepRow, shows, write_sweep
from vision_jax.report.versions import versions

__all__ = [
    "Claim",
    "Gallery",
    "Log",
    "SweepRow",
    "Watcher",
    "last_lines",
    "load_arrays",
    "read_rows",
    "save_arrays",
    "save_evaluation",
    "shows",
    "so_far",
    "versions",
    "write_atomically",
    "write_report",
    "write_sweep",
]
