"""Fast style transfer or Gatys' optimisation: seconds for a picture of the same loss.

lecture  Tsinghua 80240743, topic 5: feedforward generation
papers   Johnson et al., 2016, table 1: three orders of magnitude at equal quality
cost     full: 2 × 3 runs of 40,000 steps; twin: 2 × 3 runs of 120 steps
regime   one photograph, 96×96 pixels; 120 steps of an untrained loss network of a quarter of the
         width
run      python launch.py --config experiments/sweeps/fast_style.py:style=b.jpg --sweep
twin     python launch.py --config experiments/sweeps/fast_style.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/fast_style.py:smoke

Each run trains the network; `eval/seconds` is what the kind named takes on this machine to a
picture of `eval/loss`, the trained network's own: one pass, or steps of Adam on the pixels, from
the content. So metrics are not repeatable by bits in this sweep. Compilation is left out, and what
training took. The twin is the quickstart's: an untrained loss network of a quarter of the width,
whose weights do not change what a step costs.
"""

from experiments import quickstart_style, style_johnson_coco
from experiments.shared.style_cost import KINDS, StyleCost
from vision_jax import data, models, tasks
from vision_jax.config import CommaText, arguments, node
from vision_jax.report import Claim

KIND, SEED = "metrics.cost.kind", "metrics.cost.seed"
STEPS = 120  # the twin's
FULL = 256  # pixels


def get_config(arg=""):
    given = arguments(arg, style=CommaText(), smoke=False, twin=False)
    if given.smoke:
        config, size = quickstart_style.get_config("smoke"), quickstart_style.SIZE
    elif given.twin:
        config, size = quickstart_style.get_config(f"steps={STEPS}"), quickstart_style.SIZE
    else:
        config, size = style_johnson_coco.get_config(f"style={given.style}"), FULL
    config.eval.source = node(data.PictureFolder, folder="sklearn:china.jpg")
    config.eval.transforms = (node(data.StretchTo, size=size),)
    config.metrics = {"cost": cost(config, size, most=3 if given.smoke else 500)}
    config.eval_every = config.checkpoint_every = config.steps
    config.best = ""
    return config


def cost(config, size, most):
    """Makes the metric, with the run's own losses and loss network."""
    task = config.task
    picture = node(
        tasks.StyledPicture,
        model=node(
            models.WithLossNetwork,
            network=node(models.FreeImage),
            backbone=task.model.backbone,
        ),
        **{name: task[name] for name in ("loss_in", "styles", "style_weight", "variation")},
        variation_form=task.variation_form,
    )
    return node(
        StyleCost,
        network=task.model.network,
        picture=picture,
        source=config.eval.source,
        weights=config.init.weights,
        size=(size, size),
        most=most,
    )


def sweep(add, argument=""):
    for kind in KINDS:
        for seed in range(3):
            add(f"{kind}-seed{seed}", **{KIND: kind, SEED: seed, "seed": seed})


def claims(argument=""):
    text = "optimising a picture takes longer than one pass of a trained network"
    published = (
        "3.17 to 15.86 (100 to 500 iterations) against 0.015 seconds at 256×256, 212 to 1,060 times"
    )
    sides = ({KIND: "gatys"}, {KIND: "johnson"})
    return (Claim(text, "eval/seconds", *sides, published=published),)
