"""An embedder for your own people, or products: a folder of images for each; no file to write.

data     train=folder:people, a folder of images for each identity, of faces as
         `python -m vision_jax.show.faces align` cuts them out; and val=folder:others, people that
         are kept aside. Without val a fifth of the images is held out, of the same people
paper    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015
expect   no number is cited: the data are yours
cost     the first lines say how many steps it takes
run      python launch.py --config experiments/own_faces.py:train=folder:people
         python launch.py --config experiments/own_faces.py:train=folder:a,val=folder:b
smoke    python launch.py --config experiments/own_faces.py:smoke

Semi-hard triplets in batches with `per_identity` images of each. The model is `small`, for a
laptop, or `facenet`, Inception-ResNet v1 with weights=FILE of facenet-pytorch. Options: `size` of
the square input, `batch`, `epochs`, `lr`, `holdout`, the share of images that are held out;
`flip=False`, where left and right matter; `augment=False`. `eval/verification` is the accuracy on
pairs, half of them of one identity, beside `eval/pixels_verification` by distances of the pictures
themselves.
"""

import numpy as np

from experiments.own_classification import side
from experiments.shared import own_data
from vision_jax import data, models, tasks
from vision_jax.config import UserError, build, node
from vision_jax.evaluation import Clustering, Prefixed, Retrieval, Verification

FACENET = "facenet"
DRAWN = "drawn"  # individuals who stand in for people in the smoke
FEW = {"identities": 12, "known": 8, "images": 4}


def get_config(arg=""):
    smoke = f"smoke,size=32,train={DRAWN}"
    given = own_data.read(smoke if arg == "smoke" else arg, "", 0, per_identity=4)
    own_data.choose("model", given.model, (own_data.LAPTOP, FACENET))
    sources = source_nodes(given)
    looked = own_data.look(*sources)
    check(given, *sources)
    small = given.model == own_data.LAPTOP
    given.size = given.size or (side(looked, 96) if small else 160)
    given.batch = given.batch or given.per_identity * min(8, len(looked.classes))
    print(f"input: {given.size}×{given.size} pixels, {given.per_identity} images per identity")
    pipelines = own_data.pipelines(given, sources, transforms(given))
    pipelines[0].per_class = given.per_identity
    return own_data.assemble(
        given,
        looked,
        task=node(
            tasks.Embedding,
            model=network(given.size) if small else node(models.InceptionResNetV1),
            mean=(127.5 / 255,) * 3,
            std=(128 / 255,) * 3,
            augment=(node(tasks.augment.Flip),) if given.flip and given.augment else (),
        ),
        pipelines=pipelines,
        metrics={
            "pairs": node(Verification),
            "pixels": node(
                Prefixed, metric=node(Verification, embedding="pixels"), prefix="pixels_"
            ),
            "retrieval": node(Retrieval),
            "clusters": node(Clustering),
        },
        best="eval/verification",
        rate=1e-3,
        seen=40_000,
    )


def source_nodes(given):
    """Makes the nodes of the training and of the evaluation source."""
    if given.train == DRAWN:
        return tuple(node(data.Individuals, split=s, **FEW) for s in ("train", "validation"))
    hint = "a {kind} source has no identity for each image; take folder:FOLDER, with a folder each"
    return own_data.source_nodes(given, ("folder",), (), hint)


def check(given, train, evaluation):
    """Refuses data of which no triplets, or no pairs, can be made.

    Raises:
      UserError: naming the option.
    """
    for option, source in (("train", train), ("val", evaluation)):
        labels = build(source).image_labels()
        counts = np.bincount(labels[labels >= 0])
        if (counts > 0).sum() < 2 or counts.max(initial=0) < 2:
            how = "held out" if option == "val" and not given.val else "there"
            raise UserError(
                f"{option}={getattr(given, option) or given.train}: {len(labels)} images of "
                f"{(counts > 0).sum()} identities are {how}: at least two identities are needed, "
                "one of them with two images"
            )


def transforms(given):
    whole = (node(data.StretchTo, size=given.size),)
    if not given.augment:
        return whole, whole
    return (node(data.RandomResizedCrop, size=given.size, area=(0.7, 1.0)),), whole


def network(size):
    """Makes a ResNet with a block a stage, and 64 numbers for an image."""
    backbone = node(models.ResNetCifar, blocks=1)
    if size > 48:
        backbone = node(models.ResNet, stages=(1, 1, 1, 1), block="basic", width=32, stem="deep")
    return node(models.Embedder, backbone=backbone, head=node(models.EmbeddingHead, features=64))
