"""Minutes on a laptop: a small network learns to repaint photographs in a style, without weights.

data     crops of one of the two photographs that scikit-learn ships; the other one is the style
paper    Johnson et al. (2016), with instance norms. The loss network is a VGG-16 of a quarter of
         the width, untrained: its maps tell colours and textures, and no things; `network=hed`
         takes one that was trained to find edges, where its package is installed (style_gatys.py)
expect   no number is cited. So short, and without trained weights, it finds the style's colours and
         patches of them, and keeps large shapes alone. With network=hed, a weight of 5 and 1200
         steps of 64×64 it finds strokes too: docs/style.md has what was measured
cost     200 steps of 4 images of 96×96
run      python launch.py --config experiments/quickstart_style.py
         python launch.py --config experiments/quickstart_style.py:style=b.jpg,train=pictures:photos
smoke    python launch.py --config experiments/quickstart_style.py:smoke

Then, for pictures, folders and videos of any size:

         python launch.py --mode predict --workdir runs/quickstart_style --input PICTURE.jpg
"""

from experiments import style_johnson_coco
from experiments.shared import style
from vision_jax import data
from vision_jax.config import CommaText, arguments, node
from vision_jax.training import optimizer, schedule

SIZE = 96


def get_config(arg=""):
    given = arguments(
        arg,
        style=CommaText("sklearn:flower.jpg"),
        train=CommaText("pictures:sklearn:china.jpg"),
        network=style.RANDOM,
        weight=2.0,
        steps=200,
        size=SIZE,
        smoke=False,
    )
    settings = f"style={given.style},train={given.train},network={given.network}"
    settings += f",weight={given.weight},steps={given.steps},size={given.size},style_size=256"
    config = style_johnson_coco.get_config(f"{settings},width=8,blocks=3")
    if given.network == style.RANDOM:
        config.task.model.backbone.width = 4 if given.smoke else 16
    # Pixels that are repeated before a convolution leave no checkerboard, which transposed ones
    # take thousands of steps to unlearn.
    config.task.model.network.update(upsampling="nearest", padding="each")
    config.task.variation = 0.02
    crops = node(data.RandomResizedCrop, size=given.size, area=(0.05, 0.5))
    config.train.transforms = (crops, node(data.RandomFlip))
    config.optimizer.rule = node(optimizer.AdamW)
    config.optimizer.schedule = node(schedule.Cosine, value=3e-3)
    if given.network != style.RANDOM:
        # A trained network's losses drive pixels to the limit in the first steps, where they stay.
        config.task.model.network.zero_last = True
        rate = config.optimizer.schedule
        warm = node(schedule.WarmUp, then=rate, length=40, unit="steps")
        config.optimizer.schedule = warm
    config.eval_every, config.log_every = max(1, given.steps // 8), max(1, given.steps // 40)
    if given.smoke:
        config.steps, config.eval_every, config.log_every = 4, 2, 1
        config.train.batch_size = config.eval.batch_size = 8
    return config
