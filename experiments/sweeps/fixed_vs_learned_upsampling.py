"""Must upsampling be learned? FCN-8s with bilinear transposed convolutions, fixed or trained.

lecture  Tsinghua 80240743, topic 5: how FCN upsamples; KTH DD2424, lecture 7: learning to upsample
paper    Shelhamer et al., the journal version of "Fully Convolutional Networks", 2016: bilinear
         kernels do as well fixed as learned
cost     full: 3 × 3 runs of 30,000 steps; twin: 3 × 3 runs of 250 steps
regime   128 shapes of 64×64 pixels, 250 steps of 16 images, from scratch, measured on the training
         images; upsampled from maps of 2×2 to 8×8 cells
run      python launch.py --config experiments/sweeps/fixed_vs_learned_upsampling.py --sweep
twin     python launch.py --config experiments/sweeps/fixed_vs_learned_upsampling.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/fixed_vs_learned_upsampling.py:smoke

Networks and data are those of fcn_strides.py. A third kind starts its kernels at random. That two
ways are equal no sweep can show; a claim of the contrary may be undecided.
"""

from experiments import fcn8s_vgg16_voc
from experiments.sweeps import fcn_strides
from vision_jax.config import arguments
from vision_jax.report import Claim

KINDS = {
    "fixed": ("none", "bilinear"),
    "learned": ("all", "bilinear"),
    "random": ("all", "random"),
}


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    if given.smoke:
        return fcn8s_vgg16_voc.get_config("smoke")
    return fcn_strides.get_config("twin" if given.twin else "")


def setting(name, argument):
    """Returns the settings that a run of that kind changes."""
    head = "task.model.head" if "twin" in argument else "task.model"
    learn, kind = KINDS[name]
    return {f"{head}.learn": learn, f"{head}.kind": kind}


def sweep(add, argument=""):
    for name in KINDS:
        for seed in range(3):
            add(f"{name}-seed{seed}", **setting(name, argument), seed=seed)


def claims(argument=""):
    scale = "VGG-16 on VOC, from ImageNet's weights"
    pairs = {
        "learned kernels that start bilinear reach a higher mean IoU than fixed ones": (
            "learned",
            "fixed",
        ),
        "learned kernels reach a higher mean IoU from bilinear ones than from random ones": (
            "learned",
            "random",
        ),
    }
    return tuple(
        Claim(
            text,
            "eval/miou",
            higher=setting(better, argument),
            lower=setting(worse, argument),
            scale=scale,
            published="fixed ones do as well" if worse == "fixed" else "",
        )
        for text, (better, worse) in pairs.items()
    )
