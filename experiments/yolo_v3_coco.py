"""YOLO v3 on COCO, Darknet's recipe.

paper    Redmon & Farhadi, "YOLOv3: An Incremental Improvement", 2018
needs    Darknet-53 of ImageNet, which is fetched from Darknet's author, or
         --config.init.weights=FILE, or a run folder of `darknet53_imagenet.py`
expect   55.3 % AP50 at 416 pixels (Darknet's yolov3.weights; 51.5 % at 320, 57.9 % at 608)
cost     500,200 steps of 64 images, 32.9 G multiply-adds forward each at 416 pixels
run      python launch.py --config experiments/yolo_v3_coco.py
smoke    python launch.py --config experiments/yolo_v3_coco.py:smoke

Darknet's published `yolov3.weights` is measured by `:darknet --mode evaluate
--config.init.weights=darknet/yolov3`; `darknet` computes batch norm as Darknet does, and
`:darknet,size=608` evaluates at another size.
"""

from experiments import yolo_v1_voc0712, yolo_v2_coco, yolo_v3_voc0712
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.training import Expect, schedule

AP50 = {320: 0.515, 416: 0.553, 608: 0.579}
BURN_IN = 1000  # steps; Darknet's rate rises by their fourth power, here by the first


def get_config(arg=""):
    given = arguments(arg, size=416, darknet=False, smoke=False)
    freebies = "sync=False,cosine=False,smoothing=False,mixup=False"
    config = yolo_v3_voc0712.get_config(f"size={given.size},{freebies}")
    yolo_v1_voc0712.set_layers(config, norm="sync")
    yolo_v2_coco.on_coco(config)
    config.eval.transforms = (node(data.Letterbox, size=given.size),)
    config.optimizer.schedule = node(
        schedule.WarmUp,
        then=node(schedule.Step, value=1e-3, boundaries=(400_000, 450_000), unit="steps"),
        length=float(BURN_IN),
        unit="steps",
    )
    config.steps, config.epochs = 500_200, 0.0
    if given.size in AP50:
        config.expect = node(
            Expect, metric="eval/ap50", value=AP50[given.size], source="Darknet's yolov3.weights"
        )
    if given.darknet:
        yolo_v1_voc0712.as_darknet(config)
    return yolo_v3_voc0712.tiny(config) if given.smoke else config
