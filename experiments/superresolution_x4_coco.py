"""Super-resolution ×4 or ×8 on COCO, with a pixel loss or a loss in the maps of VGG-16.

paper    Johnson, Alahi & Fei-Fei (2016), Perceptual Losses for Real-Time Style Transfer and
         Super-Resolution, arXiv:1603.08155, section 4.2: patches of 288×288, blurred with a
         deviation of 1 and shrunk bicubically; relu2_2 of VGG-16; batches of 4, 200,000 steps of
         Adam at 1e-3
data     COCO's 2014 training images, prepared as docs/data.md says; or train=pictures:photos, any
         folder of photographs
expect   PSNR on luma, ×4, of the paper's table on Set14: bicubic 25.99, feature loss 24.99; their
         test sets are theirs, so that a number here is beside them and not the same
cost     not stated in the paper
run      python launch.py --config experiments/superresolution_x4_coco.py
         python launch.py --config experiments/superresolution_x4_coco.py:factor=8,loss=feature
smoke    python launch.py --config experiments/superresolution_x4_coco.py:smoke

Options: `loss`, pixel or feature; `factor`, 4 or 8; `train` and `val`; `norm` (sync is the paper's
batch normalisation, none suits short runs); `residual=True` adds to the bicubic enlargement;
`network`, of the feature loss: vgg16 of the zoo, hed of a package (style_gatys.py), or random;
`blur`, of the degradation: 0 is bicubic alone. The trained network enlarges pictures, folders and
videos of any size:

         python launch.py --mode predict --workdir RUN --input SMALL_PICTURES
"""

from experiments.shared import style
from vision_jax import data, models, tasks
from vision_jax.config import CommaText, UserError, arguments, node, suggest
from vision_jax.data import by_text
from vision_jax.evaluation import Averages
from vision_jax.training import Experiment

COCO = "coco/2014"
CONTENT = (("conv2_2", 1.0),)
LOOKED_AT = 64  # images of COCO's validation set
MEASURED = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
DISTANCES = ("feature_distance", "bicubic_feature_distance")
LOSSES = ("pixel", "feature")


def get_config(arg=""):
    given = arguments(
        arg,
        factor=4,
        loss="pixel",
        train=CommaText(),
        val=CommaText(),
        size=288,
        steps=200_000,
        batch=4,
        norm="sync",
        residual=False,
        blur=1.0,
        network="vgg16",
        width=64,
        blocks=4,
        smoke=False,
    )
    if given.smoke:
        given.train, given.network = "pictures:sklearn:", "random"
        given.size, given.width, given.blocks, given.batch, given.steps = 64, 8, 1, 8, 4
    return configured(given)


def configured(given):
    """Makes the experiment of the options."""
    if given.loss not in LOSSES:
        raise UserError(f"loss={given.loss!r}{suggest(given.loss, LOSSES)}")
    if given.size % given.factor:
        raise UserError(f"size={given.size} must be a multiple of factor={given.factor}")
    name, every = style.known(given.network), max(1, given.steps // 20)
    is_feature = given.loss == "feature"
    train, val = sources(given)
    degrade = node(data.Degrade, factor=given.factor, blur=given.blur)
    flips = (node(data.RandomFlip), degrade)
    config = node(
        Experiment,
        task=node(
            tasks.SuperResolution,
            model=node(
                models.WithLossNetwork,
                network=node(
                    models.JohnsonSuperResolution,
                    factor=given.factor,
                    width=given.width,
                    blocks=given.blocks,
                    layers=node(models.Layers, norm=given.norm),
                ),
                backbone=style.loss_network(name, "max", given.smoke) if is_feature else None,
            ),
            loss_in=style.loss_in(name, CONTENT, (), "relative"),
            pixel_weight=float(not is_feature),
            feature_weight=float(is_feature),
            residual=given.residual,
        ),
        train=pipeline(data.Train, given, train, node(data.RandomCrop, size=given.size), flips),
        eval=pipeline(data.Eval, given, val, node(data.StretchTo, size=given.size), (degrade,)),
        metrics={"quality": node(Averages, of=MEASURED + DISTANCES * is_feature)},
        optimizer=style.adam(1e-3),
        steps=given.steps,
        eval_every=every,
        log_every=max(1, every // 20),
        best="eval/psnr",
    )
    config.init.weights = style.weights(name) if is_feature else None
    return config


def sources(given):
    """Makes the nodes of what is trained on and what is looked at: COCO's, or those named."""
    named = [by_text.parse(text) if text else None for text in (given.train, given.val)]
    splits = ("train", f"validation[:{LOOKED_AT}]")
    train, val = (
        node(parsed[0], **parsed[1])
        if parsed
        else node(data.TFDS, name=COCO, split=split, fields=("objects",))
        for parsed, split in zip(named, splits, strict=True)
    )
    return train, train if given.train and not given.val else val


def pipeline(kind, given, source, cut, rest):
    """Makes the node of a pipeline: a square of each image, and the small image made of it."""
    return node(
        kind,
        source=source,
        transforms=(cut, *rest),
        batch_size=given.batch,
        degenerate="drop",
    )
