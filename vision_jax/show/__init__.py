"""The modes that only look: evaluate, predict, inspect, summary, explain.

Each is `mode(config, workdir, asked)`, where `asked` holds the flags that are for these modes.
"""

from collections.abc import Callable

from vision_jax.show.asked import Asked
from vision_jax.show.inspection import inspect
from vision_jax.show.measure import evaluate, explain, summary
from vision_jax.show.prediction import predict

__all__ = ["MODES", "Asked", "evaluate", "explain", "inspect", "predict", "summary"]

MODES: dict[str, Callable] = {
    "evaluate": evaluate,
    "predict": predict,
    "inspect": inspect,
    "summary": summary,
    "explain": explain,
}
