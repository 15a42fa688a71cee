"""A deeper net that cannot be worse: a shallow one copied, with layers added that do nothing.

lecture  UBC CPSC 532L, lecture 5 and KTH DD2424, lecture 7: why deeper plain nets are worse
paper    He et al., "Deep Residual Learning for Image Recognition", 2015, section 1: "there exists a
         solution by construction to the deeper model", which plain nets' training does not find
cost     full: 3 × 3 runs of 64,000 steps; twin: 3 × 3 runs of 500 steps
regime   6,000 shapes of 32×32 pixels, 500 steps of 64 images; plain nets of 8 and 32 layers without
         normalisation, of which the deeper does not begin to learn from random weights; measured on
         training images
run      python launch.py --config experiments/sweeps/deeper_by_construction.py --sweep
twin     python launch.py --config experiments/sweeps/deeper_by_construction.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/deeper_by_construction.py:smoke

`kind` is `shallow`, a plain net; `constructed`, the same net trained, copied into a deeper one
whose other layers are identities, and measured as it is; `scratch`, the deeper net trained. Plain
nets without batch norm, whose identities are exact. All are measured on training images, since
training is the question.
"""

from experiments import resnet_cifar10
from experiments.shared import embedded
from vision_jax import data
from vision_jax.config import UserError, arguments, node
from vision_jax.report import Claim
from vision_jax.training import Stage, optimizer, schedule

KINDS = ("shallow", "constructed", "scratch")
BACKBONE = "task.model.backbone."
SHALLOW, DEEP = 1, 3  # blocks per stage: 8 and 20 layers
RATE = 1e-3
TWIN_DEEP, TWIN_STEPS = 5, 500  # 32 layers


def get_config(arg=""):
    given = arguments(arg, kind="scratch", smoke=False, twin=False)
    if given.kind not in KINDS:
        raise UserError(f"kind={given.kind}: use one of {', '.join(KINDS)}")
    config = resnet_cifar10.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.smoke:
        return config
    deep = TWIN_DEEP if given.twin else DEEP
    blocks = SHALLOW if given.kind == "shallow" else deep
    config.task.model.backbone.update(blocks=blocks, residual=False)
    config.task.model.backbone.layers.norm = "none"
    some = node(data.TFDS, name="cifar10", split="train[:5000]")
    if given.twin:
        embedded.twin(config, steps=TWIN_STEPS, rate=RATE)
        config.task.model.backbone.width = 8
        config.task.model.head.num_classes = 8
        some = node(data.TFDS, name="shapes/cls32", split="train[:1000]")
    config.eval.source = some
    config.task.augment = ()
    config.eval_every = config.checkpoint_every = config.steps
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(schedule.Cosine, value=RATE),
    )
    if given.kind == "constructed":
        config.stages = _stages(deep)
    return config


def _stages(deep):
    """Training the shallow net; the deeper one's only step has a rate of 0."""
    construct = (
        (BACKBONE + "blocks", deep),
        (BACKBONE + "identity_after", SHALLOW),
        ("init.weights", "stage:shallow"),
        ("init.reinitialize", f"backbone/stage[123]_([{SHALLOW + 1}-{deep}])/.*"),
        ("steps", 1),
        ("optimizer.schedule.value", 0.0),
    )
    return (
        node(Stage, name="shallow", changes=((BACKBONE + "blocks", SHALLOW),)),
        node(Stage, name="constructed", changes=construct),
    )


def _argument(kind, argument):
    return f"kind={kind}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for kind in KINDS:
        for seed in range(3):
            add(f"{kind}-seed{seed}", argument=_argument(kind, argument), seed=seed)


def claims(argument=""):
    shallow, constructed, scratch = ({"argument": _argument(kind, argument)} for kind in KINDS)
    scale = "8 against 20 layers, CIFAR-10, 64,000 steps"
    return (
        Claim(
            "the constructed net's loss is the shallow net's, up to a hundred thousandth",
            "eval/loss",
            higher=constructed,
            lower=shallow,
            scale=scale,
            within=1e-5,
        ),
        Claim(
            "the deeper net trained from scratch ends with a higher training loss than the "
            "constructed one",
            "eval/loss",
            higher=scratch,
            lower=constructed,
            scale=scale,
        ),
    )
