"""What does augmentation give? From none to one random operation per image.

lecture  KTH DD2424, lecture 7: data augmentation
paper    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
         section 4.1; Müller & Hutter, "TrivialAugment", 2021
cost     full: 6 × 3 runs of 64,000 steps; twin: 6 × 3 runs of 300 steps
regime   600 shapes of 32×32 pixels, 300 steps of 64 images, so that each is seen 32 times and is
         learnt by heart; a ResNet of 8 layers. Too short for TrivialAugment, which pays where
         training is long
run      python launch.py --config experiments/sweeps/augmentation.py --sweep
twin     python launch.py --config experiments/sweeps/augmentation.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/augmentation.py:smoke

`augment` is `none`, `flip`, `crop` (and flip), `affine` (translation, rotation, stretch, shear, and
flip), `lens` (and flip) or `trivial` (and crop and flip). Full: ResNet-20 on CIFAR-10. The twin
trains a narrow net on 600 shapes, which are few enough to be learnt by heart.
"""

from experiments import resnet_cifar10
from experiments.shared import embedded
from vision_jax import tasks
from vision_jax.config import UserError, arguments, node
from vision_jax.report import Claim

PARTS = {
    "none": (),
    "flip": ("Flip",),
    "crop": ("PadCrop", "Flip"),
    "affine": ("Affine", "Flip"),
    "lens": ("LensDistortion", "Flip"),
    "trivial": ("PadCrop", "Flip", "TrivialAugment"),
}


def get_config(arg=""):
    given = arguments(arg, augment="crop", smoke=False, twin=False)
    if given.augment not in PARTS:
        raise UserError(f"augment={given.augment}: use one of {', '.join(PARTS)}")
    config = resnet_cifar10.get_config("smoke" if given.smoke else "")
    if given.twin:
        embedded.twin(config, steps=300, images=600)
        config.task.model.backbone.update(blocks=1, width=8)
        config.task.model.head.num_classes = 8
    parts = [getattr(tasks.augment, name) for name in PARTS[given.augment]]
    config.task.augment = tuple(node(part) for part in parts)
    config.expect = None
    return config


def _argument(kind, argument):
    return f"augment={kind}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for kind in PARTS:
        for seed in range(3):
            add(f"{kind}-seed{seed}", argument=_argument(kind, argument), seed=seed)


def claims(argument=""):
    none = {"argument": _argument("none", argument)}
    return tuple(
        Claim(
            f"{text} raise the held-out accuracy",
            "eval/top1",
            higher={"argument": _argument(kind, argument)},
            lower=none,
            scale="CIFAR-10, 64,000 steps",
        )
        for kind, text in (
            ("flip", "mirror images"),
            ("crop", "crops and mirror images"),
            ("affine", "affine maps and mirror images"),
            ("trivial", "TrivialAugment, crops and mirror images"),
        )
    )
