"""FaceNet's triplets on a laptop: a small embedder that tells drawn individuals apart.

data     400 individuals, each a fixed set of proportions and colours, drawn in changing pose, light
         and expression on 32x32 pixels; 300 of them are trained on. They are cartoons
paper    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015
expect   0.963 on pairs of individuals that were not trained on, 0.977 on new images of those that
         were, where distances of pixels have 0.570 and 0.573 (measured; FaceNet's VAL at a false
         accept rate of 0.001 is harder: 0.47 and 0.54)
cost     3.6 minutes on a share of two busy CPU cores, data and compilation included
run      python launch.py --config experiments/quickstart_faces.py
         python launch.py --config experiments/quickstart_faces.py:mining=hardest
smoke    python launch.py --config experiments/quickstart_faces.py:smoke

`eval/verification` is the accuracy on pairs of new images of the individuals that were trained on,
`eval/unseen_verification` on the hundred that were not; `eval/pixels_…` are the same for distances
of the pictures themselves. Pairs of two individuals are drawn at random, as in LFW.
`eval/bayes_verification` judges the same unseen pairs by Joint Bayesian, fitted to new images of
the known individuals; `eval/clustering_ari` says how well clusters of the unseen agree with them.
"""

from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import Clustering, JointBayesian, Prefixed, Retrieval, Verification
from vision_jax.training import Expect, Experiment, optimizer, schedule

IDENTITIES, KNOWN = 400, 300
FEW = {"identities": 24, "known": 16, "images": 4}  # of a smoke


def get_config(arg=""):
    given = arguments(arg, mining="semi_hard", smoke=False)
    config = node(
        Experiment,
        task=node(
            tasks.Embedding,
            model=network(),
            mining=given.mining,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            augment=(node(tasks.augment.Flip),),
        ),
        train=node(data.Train, source=individuals("train", 16), batch_size=96, per_class=6),
        eval=node(data.Eval, source=individuals("validation", 6), batch_size=200),
        metrics={
            "known": node(Verification, labels=(0, KNOWN)),
            "unseen": unseen(node(Verification, labels=(KNOWN, IDENTITIES))),
            "pixels": node(Prefixed, metric=pixels(0, KNOWN), prefix="pixels_"),
            "pixels_unseen": node(
                Prefixed, metric=pixels(KNOWN, IDENTITIES), prefix="pixels_unseen_"
            ),
            "bayes": node(JointBayesian, fitted=(0, KNOWN), labels=(KNOWN, IDENTITIES)),
            "retrieval": node(Retrieval, ks=(1, 5)),
            "clusters": node(Clustering, labels=(KNOWN, IDENTITIES)),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp, then=node(schedule.Cosine, value=2e-3), length=0.1, unit="fraction"
            ),
            decay=0.05,
            decay_vectors=False,
        ),
        steps=800,
        log_every=50,
        eval_every=400,
        best="eval/unseen_verification",
        expect=node(
            Expect,
            metric="eval/unseen_verification",
            value=0.9,
            source="this demo's own bar",
        ),
    )
    return smoke(config) if given.smoke else config


def network(num_classes=0):
    return node(
        models.Embedder,
        backbone=node(models.ResNetCifar, blocks=1),
        head=node(models.EmbeddingHead, features=64, num_classes=num_classes),
    )


def individuals(split, images):
    return node(data.Individuals, split=split, identities=IDENTITIES, known=KNOWN, images=images)


def unseen(metric):
    return node(Prefixed, metric=metric, prefix="unseen_")


def pixels(first, end):
    return node(Verification, embedding="pixels", labels=(first, end))


def smoke(config):
    """Makes a run of four steps on a few individuals."""
    for part in (config.train, config.eval):
        part.source.update(**FEW)
    config.train.batch_size, config.train.per_class, config.eval.batch_size = 16, 4, 48
    config.metrics.known.labels = config.metrics.pixels.metric.labels = (0, 16)
    config.metrics.unseen.metric.labels = config.metrics.pixels_unseen.metric.labels = (16, 24)
    config.metrics.bayes.fitted, config.metrics.bayes.labels = (0, 16), (16, 24)
    config.metrics.clusters.labels = (16, 24)
    config.steps, config.eval_every, config.checkpoint_every, config.log_every = 4, 2, 2, 1
    config.expect = None
    return config
