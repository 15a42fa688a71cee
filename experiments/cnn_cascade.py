"""The CNN cascade: three networks and three calibrations, each trained on what is left.

paper    Li et al., "A Convolutional Neural Network Cascade for Face Detection", 2015; stages and
         thresholds as in Viola and Jones, "Rapid Object Detection using a Boosted Cascade", 2001
data     one class of the embedded shapes stands in for faces, seven others for the rest of the
         world; 128×128 pixels. Images without a face are left out of training: most of what a
         step sees would be negative
expect   of 866 windows per image 123 reach the 24-net, with 0.994 of the faces among them, 37 the
         48-net, with 0.981, and 8 are left, with 0.917; calibration raises their IoU from 0.698 to
         0.815, from 0.786 to 0.823 and from 0.736 to 0.763; AP50 0.330; the cascade is 8.6 times as
         fast as its last network alone (measured once, on 400 images, the speed on 32). AP50 was
         0.193 as long as the 48-net's windows were not normalised
cost     3 minutes for the 12-net and as many for the 24-net, evaluations included, on a share of
         two busy CPU cores; a step of the 48-net takes a second
run      python launch.py --config experiments/cnn_cascade.py
         python -m vision_jax.show.cascade runs/cnn_cascade
smoke    python launch.py --config experiments/cnn_cascade.py:smoke

Six stages. `net12` trains the 12-net and its calibration on faces and on windows of the image
pyramid; `threshold12` sets its threshold so that 99 % of the faces in the training set pass. The
false positives that are left are what `net24` is trained on, and so on. Hard negatives are mined
within each step, by the networks before as they stay. `width` is the factor of the paper's numbers
of channels: width=1.0 is the paper's. (The smoke is one stage; `:smoke,stages` goes through all.)

Own faces: --config.train.source and --config.eval.source by node(data.CocoFolder, …) with one
class, --config.task.model.min_size.
"""

from experiments.mtcnn import STAND_IN
from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import VOC, CascadeStages
from vision_jax.training import Experiment, Stage, optimizer, schedule

SIDES = (12, 24, 48)
STEPS = (1000, 600, 600)
# Of the 48-net, which has far more weights: a smaller rate, slowly reached, and more windows.
GENTLER = (
    ("optimizer.schedule.length", 0.05),
    ("optimizer.schedule.then.value", 1e-3),
    ("task.model.train_faces", 6),
)


def get_config(arg=""):
    given = arguments(arg, width=0.5, recall=0.99, stages=False, smoke=False)
    config = node(
        Experiment,
        task=node(
            tasks.Detection,
            model=node(
                models.CNNCascade,
                min_size=16,
                width=given.width,
                train_windows=16,
                normalized=(48,),
            ),
            mean=(0.0,) * 3,
            std=(1 / 255,) * 3,
        ),
        train=node(
            data.Train,
            source=faces("train[:4000]", filter_empty=True),
            transforms=(node(data.RandomFlip),),
            batch_size=8,
            max_boxes=8,
        ),
        eval=node(data.Eval, source=faces("validation[:400]"), batch_size=16, max_boxes=8),
        metrics={
            "stages": node(CascadeStages),
            "voc": node(VOC, num_classes=1, inclusive=False),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp, then=node(schedule.Cosine, value=2e-3), length=0.0, unit="fraction"
            ),
            decay=1e-4,
            decay_vectors=False,
        ),
        steps=STEPS[0],
        log_every=50,
        checkpoint_every=50,
        best="eval/ap50",
    )
    lengths = STEPS
    if given.smoke:
        smoke(config)
        if not given.stages:
            return config
        lengths = (4, 4, 4)
    config.eval_every = max(lengths)
    config.stages = staged(lengths, given.recall)
    return config


def faces(split, name="shapes/det128", filter_empty=False):
    source = node(data.TFDS, name=name, split=split, fields=("objects",))
    kept = {"renamed": "face", "filter_empty": filter_empty}
    return node(data.OneClass, source=source, name=STAND_IN, **kept)


def staged(lengths, recall):
    """Makes the stages: of each network its training, then its threshold.

    Args:
      lengths: steps of each network's.
      recall: share of the training set's faces that each lets through.
    """
    stages, weights = [], None
    for place, (side, steps) in enumerate(zip(SIDES, lengths, strict=True)):
        start = (("init.weights", f"stage:{weights}"),) if weights else ()
        net, threshold = f"net{side}", f"threshold{side}"
        training = (
            ("steps", steps),
            ("task.model.trained", str(side)),
            ("optimizer.trainable", (f"{net}/.*", f"calibration{side}/.*")),
            ("best", ""),
            *(GENTLER if side == SIDES[-1] else ()),
        )
        solver = node(tasks.SetThreshold, place=place, recall=recall)
        solving = (("solver", solver), ("init.weights", f"stage:{net}"))
        stages.append(node(Stage, name=net, changes=(*training, *start)))
        stages.append(node(Stage, name=threshold, changes=solving))
        weights = threshold
    return tuple(stages)


def smoke(config):
    """Makes a run of four steps on a few embedded images, of narrow networks."""
    embedded.four_steps(config, best="eval/ap50")
    config.train.source, config.eval.source = (
        faces(split, "shapes/det64") for split in ("train[:32]", "validation[:16]")
    )
    config.train.batch_size = config.eval.batch_size = 8
    config.task.model.update(
        min_size=24, factor=0.5, width=0.1, max_windows=(16, 8), max_detections=8
    )
    config.task.model.update(train_faces=4, train_windows=8, chunk=16, trained="12")
