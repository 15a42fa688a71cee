"""Scores of cheap peers on a run's own data, so that its number can be judged."""

import numpy as np

from vision_jax.training import phases
from vision_jax.training.experiment import Experiment


def scores(experiment: Experiment) -> dict[str, float]:
    """Scores each of the experiment's baselines, `baseline/<name>`, and chance, `baseline/chance`.

    Chance is the share of the most frequent class in the evaluation set. Baselines read whole data
    sets at once: those that do not fit in memory are left out.
    """
    if not experiment.baselines or experiment.eval is None:
        return {}
    train = experiment.train.source.arrays()
    held_out = experiment.eval.source.arrays()
    if train is None or held_out is None:
        return {}
    labels = held_out["label"]
    measured = {"baseline/chance": float(np.bincount(labels).max() / len(labels))}
    for name, baseline in experiment.baselines.items():
        phases.tell(f"baseline {name} …")
        score = baseline.score((train["image"], train["label"]), (held_out["image"], labels))
        measured[f"baseline/{name}"] = score
    return measured
