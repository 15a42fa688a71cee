"""Pix2Seq on ResNet-50 on COCO.

paper    Chen et al., "Pix2seq: A Language Modeling Framework for Object Detection", 2021, table 1
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   43.0 % AP on val2017 after 300 epochs (table 1)
cost     300 epochs of 118,287 images of 1344×1344 pixels, 128 in a step
run      python launch.py --config experiments/pix2seq_r50_coco.py
         python launch.py --config experiments/pix2seq_r50_coco.py:encoder=vit
smoke    python launch.py --config experiments/pix2seq_r50_coco.py:smoke

Images fit into the canvas, and are resized by a factor between 0.1 and 3 and cut or filled up to
it. Half of the objects that a sequence is filled up with are near true ones, and none of their
coordinates is learnt from. `encoder=vit` has ViT-B/16 in the place of the ResNet, from scratch.
"""

from experiments.shared import pix2seq, rcnn
from vision_jax import data, models
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.training import Expect, optimizer, schedule

IMAGES = 118_287  # of COCO's train2017
BATCH, EPOCHS, CANVAS = 128, 300, 1344
# The backbone's norms stay as they are, as in DETR's recipe.
TRAINED = ("(?!backbone/.*/norm/).*",)
ENCODERS = {"resnet": models.Pix2SeqResNet50, "vit": models.Pix2SeqViTB16}


def get_config(arg=""):
    given = arguments(arg, encoder="resnet", smoke=False)
    if given.encoder not in ENCODERS:
        raise UserError(f"encoder={given.encoder!r}{suggest(given.encoder, ENCODERS)}")
    config = rcnn.coco(ENCODERS[given.encoder]())
    fit = node(data.ResizeShortestEdge, short=(CANVAS,), max_long=CANVAS)
    config.train.transforms = (
        node(data.RandomFlip),
        fit,
        node(data.RandomScale, factor=(0.1, 3.0)),
        node(data.RandomCrop, size=CANVAS),
    )
    config.eval.transforms = (fit, node(data.Pad, height=CANVAS, width=CANVAS))
    config.train.batch_size = BATCH
    config.task.whole_canvas_is_content = True  # a crop hides where the image ends
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW, b2=0.95),
        schedule=node(
            schedule.WarmUp,
            then=node(schedule.Polynomial, value=3e-3, power=1.0, end=3e-5),
            length=10,
        ),
        decay=0.05,
        decay_vectors=False,
        clip=1.0,
        trainable=TRAINED,
    )
    per_epoch = IMAGES // BATCH
    config.steps, config.epochs = 0, float(EPOCHS)
    config.eval_every, config.checkpoint_every = 10 * per_epoch, per_epoch
    source = "Chen et al. 2021, table 1"
    config.expect = node(Expect, metric="eval/ap", value=0.43, source=source)
    if given.encoder == "vit":
        config.init.weights = config.init.reinitialize = config.expect = None
    return pix2seq.smoke(config) if given.smoke else config
