"""Two minutes on a laptop: a small ResNet on the embedded shapes.

data     eight shapes on clutter, 32×32, colour and texture independent of the class, made from a
         seed on first use
expect   held-out top-1 of at least 0.85, where a linear model on the same pixels stays below 0.35
cost     under 120 s on two CPU cores, data included
run      python launch.py --config experiments/quickstart.py
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import Confusion, Loss, TopK
from vision_jax.tasks.baselines import LinearPixels
from vision_jax.training import Expect, Experiment, optimizer, schedule


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = node(
        Experiment,
        task=node(
            tasks.Classification,
            model=node(
                models.Classifier,
                backbone=node(models.ResNetCifar, blocks=1),
                head=node(models.PoolHead, num_classes=8),
            ),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            augment=(node(tasks.augment.PadCrop, mode="reflect"), node(tasks.augment.Flip)),
        ),
        train=node(
            data.Train, source=node(data.TFDS, name="shapes/cls32", split="train"), batch_size=64
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, name="shapes/cls32", split="validation"),
            batch_size=200,
        ),
        metrics={
            "top": node(TopK, ks=(1,)),
            "loss": node(Loss),
            "confusion": node(Confusion, num_classes=8),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp, then=node(schedule.Cosine, value=4e-3), length=0.1, unit="fraction"
            ),
            decay=0.05,
            decay_vectors=False,
        ),
        epochs=7.0,
        log_every=20,
        baselines={"linear": node(LinearPixels)},
        expect=node(Expect, metric="eval/top1", value=0.85, source="this demo's own bar"),
    )
    return embedded.smoke(config, size=32) if given.smoke else config
