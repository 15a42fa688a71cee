"""Captions: what do looking again for each word, and training the backbone too, give?

paper    Xu et al., "Show, Attend and Tell", 2015; Vinyals et al., "Show and Tell: Lessons learned",
         2016: training the backbone too helps, once the decoder is trained
cost     full: 4 × 3 runs of 20 epochs of COCO; twin: 4 × 3 runs of 500 steps of 64 images
regime   images of 32×32 pixels, 500 steps from a backbone that has learnt to classify the shapes
         in the same images for about a minute
needs    full: ResNet-50 of ImageNet and COCO; twin: a trained quickstart,
         python launch.py --config experiments/quickstart.py --workdir runs/quickstart
run      python launch.py --config experiments/sweeps/captioning_attention.py --sweep
twin     python launch.py --config experiments/sweeps/captioning_attention.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/captioning_attention.py:smoke

Without attention the decoder sees the mean of the map's places once, as its first input. A frozen
backbone keeps the features that it began with. Tuned from the first step on, one that is seen once
unlearns what it knew: Vinyals et al. met this too, and trained the decoder before the backbone;
where attention says which places matter, gradients spoil less.
"""

from experiments import captioning_resnet50_attention_coco
from experiments.shared import captioning
from vision_jax.config import arguments
from vision_jax.report import Claim

STEPS = 500  # the twin's
START = "runs/quickstart"  # whose network's backbone the twin begins with


def get_config(arg=""):
    given = arguments(arg, attend=True, tune=True, smoke=False, twin=False)
    if given.smoke or not given.twin:
        own = f"attend={given.attend},tune={given.tune}" + (",smoke" if given.smoke else "")
        return captioning_resnet50_attention_coco.get_config(own)
    config = captioning.on_shapes(captioning.shapes_network(given.attend))
    captioning.shorten(config, STEPS)
    config.init.weights, config.init.reinitialize = START, "(?!backbone/).*"
    config.eval.source.split = "validation[:500]"
    if not given.tune:
        config.task.model.backbone.layers.norm = "frozen"
        config.optimizer.trainable, config.optimizer.groups = ("(?!backbone/).*",), ()
    return config


def _argument(attend, tune, argument):
    return f"attend={attend},tune={tune}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for seed in range(3):
        for attend, looks in ((True, "attention"), (False, "once")):
            for tune, trained in ((True, "tuned"), (False, "frozen")):
                own = _argument(attend, tune, argument)
                add(f"{looks}-{trained}-seed{seed}", argument=own, seed=seed)


def claims(argument=""):
    def claim(text, higher, lower):
        return Claim(
            text,
            "eval/cider_d",
            higher={"argument": _argument(*higher, argument)},
            lower={"argument": _argument(*lower, argument)},
            scale="ResNet-50 on COCO, 20 epochs",
        )

    return (
        claim("attention is better than seeing the image once", (True, True), (False, True)),
        claim("with attention, a tuned backbone is better", (True, True), (True, False)),
        claim("seen once, a tuned backbone is better", (False, True), (False, False)),
    )
