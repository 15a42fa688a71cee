"""What do Pix2Seq's made-up objects give, and does the order of objects matter?

lecture  HKUST COMP 5214: Pix2Seq
paper    Chen et al., "Pix2seq: A Language Modeling Framework for Object Detection", 2021, section
         4.3: without made-up objects sequences end early, and recall suffers; a random order is the
         best of those that were tried
cost     full: 3 × 3 runs of 300 epochs; twin: 3 × 3 runs of 1,500 steps
regime   4,000 images of 64×64 pixels, all objects of one class, 1,500 steps of 16 from a
         backbone that has learnt to classify the shapes
needs    full: ResNet-50 of ImageNet and COCO; twin: a trained backbone of the demo,
         python launch.py --config experiments/quickstart_detr.py --workdir runs/quickstart_detr
run      python launch.py --config experiments/sweeps/pix2seq_sequences.py --sweep
twin     python launch.py --config experiments/sweeps/pix2seq_sequences.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/pix2seq_sequences.py:smoke
"""

from experiments import pix2seq_r50_coco
from experiments.shared import pix2seq
from vision_jax.config import arguments
from vision_jax.report import Claim

NOISE, ORDER = "task.model.noise_objects", "task.model.order"
USUAL = {NOISE: True, ORDER: "random"}


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = pix2seq_r50_coco.get_config("smoke" if given.smoke else "")
    config.expect = None
    return pix2seq.twin(config, steps=1500) if given.twin else config


def sweep(add, argument=""):
    for seed in range(3):
        add(f"usual-seed{seed}", **USUAL, seed=seed)
        add(f"no-made-up-objects-seed{seed}", **USUAL | {NOISE: False}, seed=seed)
        add(f"by-area-seed{seed}", **USUAL | {ORDER: "area"}, seed=seed)


def claims(argument=""):
    scale = "ResNet-50 on COCO, 300 epochs"
    recall = "eval/ar10" if "twin" in argument else "eval/ar100"
    without = {"higher": USUAL, "lower": USUAL | {NOISE: False}, "scale": scale}
    return (
        Claim("made-up objects raise recall", recall, **without),
        Claim("made-up objects raise AP", "eval/ap", **without),
        Claim(
            "a random order is better than one by area",
            "eval/ap",
            higher=USUAL,
            lower=USUAL | {ORDER: "area"},
            scale=scale,
        ),
    )
