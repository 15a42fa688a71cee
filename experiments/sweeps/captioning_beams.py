"""Captions: how many sequences should a search follow?

paper    Vinyals et al. follow 20 sequences in "Show and Tell", 2014, and 3 in "Lessons learned",
         2016; 1 is the likeliest word each time
cost     each run only evaluates: a search with 5 beams costs about five times the decoder's steps
regime   the networks of `captioning_attention.py`'s twin, 500 images of 32×32 pixels
needs    trained runs of `captioning_attention.py`; twin: those of its twin, in
         experiments/sweeps/results/captioning_attention-twin
run      python launch.py --config experiments/sweeps/captioning_beams.py --sweep
twin     python launch.py --config experiments/sweeps/captioning_beams.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/captioning_beams.py:smoke

A run takes a trained network, makes one step at a rate of 0, and is evaluated. So `eval/` measures
the search alone: scores, with captions ranked by the mean log-probability of a token in the twin.
There, after 500 steps, nearly all searches write the same: a sentence about a shape has one word of
which a network is in doubt, and no two words that only together are likely.
"""

from experiments.sweeps import captioning_attention
from vision_jax.config import arguments, node
from vision_jax.report import Claim
from vision_jax.training import schedule

BEAMS = "task.beams"
FULL, TWIN = "runs/captioning_attention", "experiments/sweeps/results/captioning_attention-twin"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    if given.smoke:
        return captioning_attention.get_config("smoke")
    config = captioning_attention.get_config("twin" if given.twin else "")
    return only_evaluated(config)


def only_evaluated(config):
    """Makes a training, in place, one step at a rate of 0 that leaves its weights as they are."""
    config.task.model.backbone.layers.norm = "frozen"
    config.optimizer.schedule = node(schedule.Constant, value=0.0)
    config.steps, config.epochs = 1, 0.0
    config.eval_every = config.checkpoint_every = 1
    config.init.reinitialize = None
    return config


def sweep(add, argument=""):
    folder = TWIN if "twin" in argument else FULL
    for seed in range(3):
        weights = f"{folder}/attention-tuned-seed{seed}"
        for beams in (1, 3, 5):
            changes = {BEAMS: beams, "init.weights": weights, "seed": seed}
            add(f"{beams}-beams-seed{seed}", **changes)


def claims(argument=""):
    def claim(text, more, fewer):
        return Claim(
            text,
            "eval/cider_d",
            higher={BEAMS: more},
            lower={BEAMS: fewer},
            scale="ResNet-50 on COCO, 20 epochs",
        )

    return (
        claim("3 beams are better than the likeliest word", 3, 1),
        claim("3 beams are better than 5", 3, 5),
    )
