"""Fast style transfer: a network that repaints any picture in one style, trained on COCO.

paper    Johnson, Alahi & Fei-Fei (2016), Perceptual Losses for Real-Time Style Transfer and
         Super-Resolution, arXiv:1603.08155: batches of 4 images of 256×256, 40,000 steps of Adam
         at 1e-3; content in relu3_3 of VGG-16, style in relu1_2, 2_2, 3_3 and 4_3
data     COCO's 2014 training images, prepared as docs/data.md says; or train=pictures:photos, any
         folder of photographs; and style=b.jpg
expect   no number is cited: the pictures are the result
cost     the paper: about four hours on a Titan X
run      python launch.py --config experiments/style_johnson_coco.py:style=b.jpg
         python launch.py --config experiments/style_johnson_coco.py:style=b.jpg,train=pictures:a
smoke    python launch.py --config experiments/style_johnson_coco.py:smoke

Norms are instance norms, as in the models that the authors released later; `norm=sync` is the
paper's batch normalisation. The loss network's weights are torchvision/vgg16-397923af of the zoo;
`network=hed` takes those of a package, see style_gatys.py. The trained network repaints pictures,
folders and videos of any size:

         python launch.py --mode predict --workdir RUN --input holiday.mp4

Options: `weight`, of style against content, where layers are measured relative to their targets;
`form=johnson` measures them as the paper does, which needs another weight for each loss network;
`variation`; `style_size`, pixels of the longer side; `size` of training images; `colors=content`
keeps the pictures' chroma; `val`, a source to look at while it trains.
"""

from experiments.shared import style
from vision_jax import data, models, tasks
from vision_jax.config import CommaText, UserError, arguments, node
from vision_jax.data import by_text
from vision_jax.evaluation import Averages
from vision_jax.training import Experiment

CONTENT = (("conv3_3", 1.0),)
COCO = "coco/2014"
LOOKED_AT = 64  # images of COCO's validation set


def get_config(arg=""):
    given = arguments(
        arg,
        style=CommaText(),
        train=CommaText(),
        val=CommaText(),
        size=256,
        style_size=256,
        steps=40_000,
        batch=4,
        weight=10.0,
        variation=0.0,
        norm="instance",
        form="relative",
        colors="style",
        network="vgg16",
        width=32,
        blocks=5,
        smoke=False,
    )
    if given.smoke:
        given.style, given.train, given.network = (
            "sklearn:flower.jpg",
            "pictures:sklearn:",
            "random",
        )
        given.size, given.style_size, given.width, given.blocks = 64, 64, 4, 1
        given.batch, given.steps = 8, 4
    return configured(given)


def configured(given):
    """Makes the experiment of the options."""
    if not given.style:
        raise UserError("name a style: style=b.jpg")
    name, every = style.known(given.network), max(1, given.steps // 20)
    train, val = sources(given)
    config = node(
        Experiment,
        task=node(
            tasks.Style,
            model=node(
                models.WithLossNetwork,
                network=node(
                    models.JohnsonStyle,
                    width=given.width,
                    blocks=given.blocks,
                    layers=node(models.Layers, norm=given.norm),
                ),
                backbone=style.loss_network(name, "max", given.smoke),
            ),
            loss_in=style.loss_in(name, CONTENT, style.JOHNSON, given.form),
            styles=style.pictures(given.style, given.style_size),
            style_weight=given.weight,
            variation=given.variation,
            variation_form="l1_mean" if given.form == "relative" else "l2_sum",
            colors=given.colors,
        ),
        train=node(data.Train, source=train, **pipeline(given)),
        eval=node(data.Eval, source=val, **pipeline(given)),
        metrics={"losses": node(Averages)},
        optimizer=style.adam(1e-3),
        steps=given.steps,
        eval_every=every,
        log_every=max(1, every // 20),
        best="",
    )
    config.init.weights = style.weights(name)
    return config


def sources(given):
    """Makes the nodes of what is trained on and what is looked at: COCO's, or those named."""
    default = [
        node(data.TFDS, name=COCO, split=split, fields=("objects",))
        for split in ("train", f"validation[:{LOOKED_AT}]")
    ]
    named = [by_text.parse(text) if text else None for text in (given.train, given.val)]
    train, val = (
        node(parsed[0], **parsed[1]) if parsed else other
        for parsed, other in zip(named, default, strict=True)
    )
    return train, train if given.train and not given.val else val


def pipeline(given):
    """Returns the settings of both pipelines: squares of one size, as the paper stretches them."""
    return {
        "transforms": (node(data.StretchTo, size=given.size),),
        "batch_size": given.batch,
        "degenerate": "drop",
    }
