"""FaceNet with Inception-ResNet v1 on VGGFace2, evaluated on Labeled Faces in the Wild.

paper    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015;
         Cao et al., "VGGFace2", 2018; the network is davidsandberg/facenet's
needs    VGGFACE2/train, a folder for each of 8,631 identities, and LFW with its pairs.txt, both of
         aligned faces: python -m vision_jax.show.faces align makes them from photographs
expect   99.65 % on LFW (facenet's 20180402-114759, which was trained by softmax alone)
cost     275,000 steps of 90 images; 1.4 G multiply-adds forward each
run      python launch.py --config experiments/facenet_vggface2.py
         python launch.py --config experiments/facenet_vggface2.py:loss=triplet
smoke    python launch.py --config experiments/facenet_vggface2.py:smoke

`loss=softmax` classifies the identities, as facenet's published networks were trained; `triplet`
mines semi-hard triplets in batches of 30 identities with three images each, as facenet does, after
NN2's recipe. Folders of your own: --config.train.source.folder, --config.eval.source.folder and
--config.eval.source.pairs. Published weights (facenet-pytorch's `20180402-114759-vggface2.pt`) are
measured by `--mode evaluate --config.init.weights=FILE`.
"""

from experiments import quickstart_faces
from vision_jax import data, models, tasks
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.evaluation import Clustering, Retrieval, Verification
from vision_jax.training import Expect, Experiment, optimizer, schedule

IDENTITIES, SIZE = 8631, 160


def get_config(arg=""):
    given = arguments(arg, loss="softmax", smoke=False)
    if given.loss not in ("softmax", "triplet"):
        raise UserError(f"loss={given.loss!r}{suggest(given.loss, ('softmax', 'triplet'))}")
    is_triplet = given.loss == "triplet"
    config = node(
        Experiment,
        task=node(
            tasks.Embedding,
            model=node(models.InceptionResNetV1, num_classes=IDENTITIES),
            triplet_weight=float(is_triplet),
            class_weight=float(not is_triplet),
            mean=(127.5 / 255,) * 3,
            std=(128 / 255,) * 3,
            augment=(node(tasks.augment.Flip),),
        ),
        train=node(
            data.Train,
            source=node(data.ImageFolder, folder="VGGFACE2/train"),
            transforms=(resized(SIZE, SIZE),),
            batch_size=90,
            per_class=3 if is_triplet else 0,
        ),
        eval=node(
            data.Eval,
            source=node(data.LfwPairs, folder="LFW", pairs="LFW/pairs.txt"),
            transforms=(resized(SIZE, SIZE),),
            batch_size=100,
        ),
        metrics={"lfw": node(Verification, pairs="listed")},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW, eps=0.1, decoupled=False),
            schedule=node(schedule.Step, value=0.05, boundaries=(100_000, 200_000), unit="steps"),
            decay=5e-4,
            decay_vectors=False,
        ),
        steps=275_000,
        log_every=100,
        eval_every=5000,
        best="eval/verification",
        expect=node(
            Expect, metric="eval/verification", value=0.9965, source="facenet 20180402-114759"
        ),
    )
    if is_triplet:
        config.task.model.num_classes = 0
    return smoke(config) if given.smoke else config


def resized(height, width):
    return node(data.StretchTo, size=height, width=width)


def smoke(config):
    """Makes a run of four steps on drawn individuals, with quickstart_faces.py's network."""
    classes = config.task.model.num_classes and quickstart_faces.FEW["identities"]
    config.task.model = quickstart_faces.network(num_classes=classes)
    drawn(config, 32)
    return config


def drawn(config, size):
    """Turns faces of people into a few drawn individuals, and a run into four steps."""
    people = {**quickstart_faces.FEW, "size": size}
    config.train.source = node(data.Individuals, split="train", **people)
    config.eval.source = node(data.Individuals, split="validation", **people)
    config.train.transforms = config.eval.transforms = ()
    config.train.batch_size, config.eval.batch_size = 16, 48
    if config.train.per_class:
        config.train.per_class = 4
    config.metrics = {
        "verification": node(Verification),
        "retrieval": node(Retrieval),
        "clusters": node(Clustering),
    }
    config.steps, config.eval_every, config.checkpoint_every, config.log_every = 4, 2, 2, 1
    config.expect = None
