"""The config tree is the constructor tree.

`node(cls, ...)` describes a constructor call as an `ml_collections.ConfigDict`: the dotted name
under the key `target` and every argument, defaults included. `build` makes the call. So each
argument of each part is a knob that a flag can turn, and a default lives in its constructor only.
"""

from vision_jax.config.command_line import CommandLine, number, whole
from vision_jax.config.errors import SettingError, UserError, printable, suggest
from vision_jax.config.keys import leaves
from vision_jax.config.lab_record import LabRecord, lab_record, read_lab_record
from vision_jax.config.limits import one_of, within
from vision_jax.config.nodes import TARGET, as_node, brief, locate, node, plain
from vision_jax.config.tree import (
    CommaText,
    arguments,
    build,
    load,
    load_module,
    override,
    override_everywhere,
)

__all__ = [
    "TARGET",
    "CommaText",
    "CommandLine",
    "LabRecord",
    "SettingError",
    "UserError",
    "arguments",
    "as_node",
    "brief",
    "build",
    "lab_record",
    "leaves",
    "load",
    "load_module",
    "locate",
    "node",
    "number",
    "one_of",
    "override",
    "override_everywhere",
    "plain",
    "printable",
    "read_lab_record",
    "suggest",
    "whole",
    "within",
]
