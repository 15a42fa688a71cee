"""What a program has to do, as XLA counts it: operations, and bytes to and from memory.

Operations are those of the program as it is written (for convolutions, at places that hold no
padding), before XLA rewrites it: what is compiled for a GPU calls cuDNN and cuBLAS, of whose work
XLA's counts know nothing. Bytes are of the compiled program, after fusion, to which those calls'
arguments and results are added. A loop's body counts once.
"""

import math
import re
from collections.abc import Callable
from typing import Any

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*?)\)")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_WORKSPACE = "u8"  # cuDNN's and cuBLAS's own scratch memory, beside the result


def flops(function: Callable, *arguments: Any) -> float:
    """Operations of `function(*arguments)` on a GPU; which need not be there."""
    import jax

    abstract = jax.eval_shape(lambda *given: given, *arguments)
    # The CPU's analysis of what is written for the GPU; the GPU's client has none of its own.
    with jax.default_device(jax.devices("cpu")[0]):
        lowered = jax.jit(function).trace(*abstract).lower(lowering_platforms=("cuda",))
        return lowered.cost_analysis()["flops"]


def traffic(compiled: Any) -> float:
    """Bytes that a compiled program reads and writes."""
    return compiled.cost_analysis()["bytes accessed"] + calls_traffic(compiled.as_text())


def calls_traffic(text: str) -> int:
    """Bytes of the arguments and results of all custom calls in a program in HLO's text form."""
    sizes: dict[str, int] = {}
    total = 0
    for line in text.splitlines():
        found = _INSTRUCTION.match(line)
        if not found:
            continue
        name, kind, operation, operands = found.groups()
        sizes[name] = _size(kind)
        if operation == "custom-call":
            read = re.findall(r"%([\w.-]+)", operands)
            total += sizes[name] + sum(sizes.get(operand, 0) for operand in read)
    return total


def _size(kind: str) -> int:
    """Bytes of a type: an array's, or a tuple's without workspaces."""
    arrays = [
        (name, int(bits or 8), [int(n) for n in shape.split(",") if n])
        for name, bits, shape in _ARRAY.findall(kind)
    ]
    if len(arrays) > 1:
        arrays = [array for array in arrays if array[0] != _WORKSPACE]
    return sum(math.prod(shape) * bits // 8 for _, bits, shape in arrays)
