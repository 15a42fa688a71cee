"""Detection in your own images; no file needs to be written.

data     train=KIND:… and perhaps val=KIND:…, in the doctor's own syntax: coco:train.json,photos,
         voc:FOLDER,train, yolo:data.yaml,train, csv:boxes.csv,photos,xyxy or labelme:FOLDER.
         Several parts are joined by commas: train=coco:a.json,photos,val=coco:b.json,photos.
         Without val a fifth of the images is held out
detector faster_rcnn, unless another is named: mask_rcnn (for coco, yolo and labelme), retinanet,
         ssd or yolo
model    `small`, for a laptop; for a GPU resnet18, resnet34, resnet50 or resnet101 (SSD: vgg16,
         resnet18, resnet34 or resnet50; YOLO: tiny or darknet53)
expect   no number is cited: the data are yours
cost     the first lines say how many steps it takes
run      python launch.py --config experiments/own_detection.py:train=coco:train.json,photos
         python launch.py --config experiments/own_detection.py:detector=yolo,train=yolo:data.yaml
smoke    python launch.py --config experiments/own_detection.py:smoke

Classes, the input's shape, anchors or priors, boxes per image and epochs come from the data, and
are told; anchors, priors and default boxes by k-means with the distance 1 - IoU, in the form that
the detector has. Options: `size`, the input's long side, `batch`, `epochs`, `lr`, `holdout`, the
share of images that are held out; `weights`, a file or a run folder to start from, whose
statistics of norms are kept; `flip=False`, where left and right matter; `augment=False`. A value
may stand in double quotes, as paths with commas have to: 'train=coco:"a,b.json",photos'.
"""

from experiments.shared import own_data, own_detectors
from vision_jax import data, tasks
from vision_jax.config import UserError, node
from vision_jax.evaluation import COCO

KINDS = ("coco", "voc", "yolo", "csv", "labelme", "tfds")
WITH_MASKS = ("coco", "yolo", "labelme", "tfds")
HINT = "a {kind} source has no boxes; see own_classification.py and own_segmentation.py"
MASK_HINT = "a {kind} source has no masks; take another detector than mask_rcnn"


def get_config(arg=""):
    given = own_data.read(arg, "shapes/det64", 64, detector="")
    # SSD is compiled in the shortest time.
    given.detector = given.detector or ("ssd" if given.smoke else "faster_rcnn")
    own_data.choose("detector", given.detector, own_detectors.DETECTORS)
    own_data.choose("model", given.model, own_detectors.model_names(given.detector))
    masks = given.detector == "mask_rcnn"
    sources = own_data.source_nodes(
        given,
        WITH_MASKS if masks else KINDS,
        ("objects", "rle") if masks else ("objects",),
        MASK_HINT if masks and given.train.partition(":")[0] in KINDS else HINT,
    )
    looked = own_data.look(*sources)
    if not len(looked.boxes):
        raise UserError(f"train={given.train}: it has no object with a box to learn from")
    choice = shape(given, looked)
    given.batch = own_data.batch_size(given, looked, 8 if given.model == own_data.LAPTOP else 16)
    kinds = ("bbox", "segm") if masks else ("bbox",)
    is_yolo = given.detector == "yolo"
    colors = {"mean": (0.0,) * 3, "std": (1.0,) * 3} if is_yolo else {}
    return own_data.assemble(
        given,
        looked,
        task=node(
            tasks.Detection,
            model=own_detectors.DETECTORS[given.detector](choice),
            whole_canvas_is_content=given.augment,
            **colors,
        ),
        pipelines=own_data.pipelines(
            given, sources, transforms(given, choice), max_boxes=looked.max_boxes
        ),
        metrics={"coco": node(COCO, num_classes=None, iou_types=kinds)},
        best="eval/mask_ap" if masks else "eval/ap",
        rate=2e-4 if given.weights else 1e-3,
        seen=15_000 if given.model == own_data.LAPTOP else 40_000,
        clip=10.0,
    )


def shape(given, looked):
    """Chooses the input's shape, and tells it."""
    stretches = given.detector == "ssd"
    side = own_detectors.long_side(given.detector, given.model, given.size, looked)
    height, width = (side, side) if stretches else own_data.canvas(looked, side)
    print(f"input: {width}×{height} pixels, up to {looked.max_boxes} objects")
    return own_detectors.Choice(
        model=given.model,
        looked=looked,
        height=height,
        width=width,
        pretrained=bool(given.weights),
        max_detections=max(100, looked.max_boxes),
        stretches=stretches,
        smoke=given.smoke and given.detector in ("faster_rcnn", "mask_rcnn", "ssd"),
    )


def transforms(given, choice):
    """Makes SSD's for SSD and YOLO, milder ones of the same kinds for the others.

    Liu et al. 2016, section 3.6: colours, zooming out, crops that overlap an object enough, mirror
    images. The others see less of zooming; each detector's own resizing comes after.
    """
    place = node(data.Letterbox, size=choice.height, width=choice.width)
    if choice.stretches:
        place = node(data.StretchTo, size=choice.width)
    flip = (node(data.RandomFlip),) if given.flip else ()
    if not given.augment:
        return (place,), (place,)
    if given.detector in ("ssd", "yolo"):
        moves = node(data.Expand), node(data.IoUCrop)
    else:
        moves = (
            node(data.Expand, max_scale=2.0),
            node(data.IoUCrop, min_ious=(0.5, 0.7, 0.9, 1.0), side=(0.5, 1.0)),
        )
    return (node(data.PhotometricDistortion), *moves, place, *flip), (place,)
