"""Experiments on data of one's own: what they choose by the data, and what they say of mistakes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from experiments.shared import own_data, own_detectors
from vision_jax import data
from vision_jax.config import UserError, build, leaves, load, override
from vision_jax.data import by_text
from vision_jax.training import agree, spread

pytestmark = pytest.mark.usefixtures("at_the_root")
FACES = "experiments/own_faces.py"
CLASSIFY, DETECT, SEGMENT = (
    f"experiments/own_{task}.py" for task in ("classification", "detection", "segmentation")
)
SHAPES = "train=tfds:shapes/det64,train[:40]"
NAMES = ("cat", "dog")


@pytest.fixture
def folder(tmp_path):
    """Twelve photos of 96×64, in each a cat of 30×20 and in every second one a dog of 12×24."""
    (tmp_path / "a, b=c").mkdir()
    images, annotations = [], []
    for k in range(12):
        Image.new("RGB", (96, 64), (9 * k, 5, 5)).save(tmp_path / "a, b=c" / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": 96, "height": 64})
        for category, (x, y, w, h) in enumerate([(5, 9, 30, 20), (50, 9, 12, 24)][: 1 + k % 2]):
            annotation = {"id": len(annotations), "image_id": k, "category_id": category}
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {**annotation, "bbox": [x, y, w, h], "segmentation": [polygon], "iscrowd": 0}
            )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
    }
    (tmp_path / "train.json").write_text(json.dumps(document))
    return tmp_path


def coco(folder):
    return f'coco:{folder / "train.json"},"{folder / "a, b=c"}"'


def shapes_of(config):
    """The config with its numbers of classes, and the shapes of the network's variables."""
    config, experiment, _ = agree(spread(config))
    batch, model = experiment.train.element(), experiment.task.model
    inputs = (jnp.zeros(batch.image.shape), jnp.ones((len(batch.image), 2)))
    inputs = inputs if batch.targets.boxes is not None else inputs[:1]
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return config, experiment, variables["params"]


@pytest.mark.parametrize(
    ("detector", "model", "channels"),
    [  # of the layers that predict: an RPN's 3 anchors, 9 with background, …
        ("faster_rcnn", "small", {3, 12, 9}),
        ("mask_rcnn", "small", {3, 12, 9}),
        ("retinanet", "small", {9 * 8, 9 * 4}),
        ("ssd", "small", {6 * 9, 6 * 4}),
        ("yolo", "small", {3 * (5 + 8)}),
        ("faster_rcnn", "resnet50", {3, 12, 9}),
        ("retinanet", "resnet18", {9 * 8, 9 * 4}),
        ("ssd", "vgg16", {6 * 9, 6 * 4}),
        ("ssd", "resnet50", {6 * 9, 6 * 4}),
        ("yolo", "tiny", {3 * (5 + 8)}),
        ("yolo", "darknet53", {3 * (5 + 8)}),
    ],
)
def test_every_detector_fits_its_data(detector, model, channels, capsys):
    config = load(f"{DETECT}:{SHAPES},detector={detector},model={model}")
    told = capsys.readouterr().out
    assert "data: 32 images to train on, 8 to evaluate on, held out of them; 64×64" in told
    assert "k-means of" in told and "mean IoU 0." in told
    assert config.task.model.num_classes is None and config.train.max_boxes >= 3
    config, _, params = shapes_of(config)
    assert config.task.model.num_classes == config.metrics.coco.num_classes == 8
    assert channels <= {leaf.shape[-1] for leaf in jax.tree.leaves(params)}
    # A run folder holds numbers alone: nothing in it is computed from the data again.
    assert all("own_" not in str(value) for path, value in leaves(config) if "target" in path)
    assert json.loads(config.to_json())


def test_anchors_are_those_of_the_boxes(folder, capsys):
    """Cats of 30×20 and dogs of 12×24 on a canvas of 128 pixels, a third larger than 96."""
    spec = f"{DETECT}:train={coco(folder)},val={coco(folder)}"
    config = load(f"{spec},detector=yolo,size=192")
    assert config.train.transforms[3].size == 128 and config.train.transforms[3].width == 192
    priors = np.array(config.task.model.priors)
    assert [60, 40] in priors.tolist() and [24, 48] in priors.tolist()
    config = load(f"{spec},detector=faster_rcnn,size=192")
    sizes = np.array(config.task.model.rpn.anchor_sizes)[:, 0]
    assert 34 in sizes and 49 in sizes  # square roots of 24·48 and 60·40
    assert {2.0, 0.67} <= {*config.task.model.rpn.anchor_ratios}
    config = load(f"{spec},detector=ssd,size=192")
    scales = config.task.model.default_boxes.scales
    # Stretched to a square of 192 they are 60×60 and 24×72.
    assert len(scales) == 6 and {0.217, 0.312} <= {*scales}
    assert config.task.model.default_boxes.ratios[0][0] == 3.0
    assert config.train.max_boxes == 8 and config.train.batch_size == 8
    assert "classes: 2 (cat, dog)" in capsys.readouterr().out


def test_the_parts_of_the_argument_find_their_way(folder):
    config = load(f"{DETECT}:epochs=7,train={coco(folder)},upright=true,val={coco(folder)},lr=1")
    assert config.train.source.images == str(folder / "a, b=c")
    assert config.train.source.upright is True and config.eval.source.upright is False
    assert config.epochs == 7.0 and config.optimizer.schedule.then.value == 1.0
    assert len(build(config.eval.source)) == 12


def test_no_option_is_a_sources_setting():
    """A source's `key=value` behind a comma would else be taken for the experiment's."""
    for kind in by_text.KINDS.values():
        assert not {*own_data.OPTIONS, "detector", "tune", "balance"} & {*kind.__dataclass_fields__}


def test_held_out_images_are_the_same_in_every_run(folder, capsys):
    config, again = (load(f"{DETECT}:train={coco(folder)}") for _ in range(2))
    assert config.to_json() == again.to_json()
    train, held = (build(config[part].source) for part in ("train", "eval"))
    assert isinstance(train, data.HeldOut) and (len(train), len(held)) == (10, 2)
    assert not {train.image_id(i) for i in range(10)} & {held.image_id(i) for i in range(2)}
    assert "2 to evaluate on, held out of them" in capsys.readouterr().out
    half = load(f"{DETECT}:train={coco(folder)},holdout=0.5")
    assert len(build(half.train.source)) == 6


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "eval_every"),
    [(10, 8, 100.0, 13), (1000, 8, 15.0, 250), (100_000, 8, 12.0, 25_000)],
)
def test_lengths_follow_the_number_of_images(count, batch, epochs, eval_every):
    given = own_data.read("smoke", "shapes/det64", 64)
    given.smoke = False
    looked = own_data.Looked(
        classes=NAMES,
        count=count,
        sizes=np.full((9, 2), 64.0),
        boxes=np.zeros((0, 4)),
        box_sizes=np.zeros((0, 2)),
        most=3,
        complete=count < 1000,
        measurable=True,
        masks=[],
    )
    given.batch = own_data.batch_size(given, looked, 8)
    parts = load(f"{DETECT}:smoke")
    config = own_data.assemble(
        given, looked, parts.task, (parts.train, parts.eval), {}, "eval/ap", 1e-3, 15_000
    )
    assert (given.batch, config.epochs, config.eval_every) == (batch, epochs, eval_every)
    steps = epochs * count / batch
    assert 1 <= config.optimizer.schedule.length * steps <= 1001
    assert steps / config.eval_every <= 11 or eval_every * batch >= count
    assert 0 < config.log_every <= 50 and config.checkpoint_every in (0, 1000)
    assert looked.max_boxes == (8 if count < 1000 else 100)


def test_the_input_has_the_shape_of_the_images():
    def looked(sizes, boxes=((0, 0, 10, 10),), of=(100, 100)):
        boxes = np.asarray(boxes, float)
        shape = np.tile(np.asarray(of, float), (len(boxes), 1))
        sizes = np.asarray(sizes, float)
        return own_data.Looked(NAMES, 9, sizes, boxes, shape, 1, True, True, [])

    assert own_data.canvas(looked([(480, 640)] * 9), 416) == (320, 416)
    assert own_data.canvas(looked([(480, 640), (640, 480)]), 416) == (416, 416)
    assert own_data.canvas(looked([(100, 1000)]), 256) == (32, 256)
    small_objects = [(0, 0, 4, 4)] * 5
    assert own_data.long_side(looked([(900, 900)], small_objects), 256, 800) == 416
    assert own_data.long_side(looked([(900, 900)], small_objects), 256, 320) == 320
    assert own_data.long_side(looked([(900, 900)]), 256, 800) == 256
    assert own_data.long_side(looked([(300, 200)], small_objects), 256, 800) == 320
    assert own_data.long_side(looked([(28, 28)]), 256, 800) == 128


def test_objects_become_semantic_labels(folder):
    config = load(f"{SEGMENT}:train={coco(folder)},size=96,balance=true")
    source = build(config.train.source)
    assert source.classes == ("background", *NAMES)
    labels = source[0]["segmentation"]
    assert labels.shape == (64, 96) and {*np.unique(labels).tolist()} <= {0, 1, 2}
    assert (labels == 1).sum() == 30 * 20
    background, cat, dog = config.task.class_weights
    assert background < cat < dog
    config, experiment, _ = shapes_of(config)
    assert config.task.model.head.num_classes == 3
    element = experiment.train.element()
    assert element.image.shape[1:] == (64, 64, 3)
    assert experiment.eval.element().image.shape[1:] == (64, 96, 3)


@pytest.mark.parametrize("model", ["small", "resnet18", "resnet50"])
def test_classifiers(tmp_path, model, capsys):
    for name in NAMES:
        (tmp_path / name).mkdir()
        for k in range(6):
            Image.new("RGB", (70, 60), (9 * k, 5, 5)).save(tmp_path / name / f"{k}.png")
    config = load(f"{CLASSIFY}:train=folder:{tmp_path},model={model}")
    config, experiment, params = shapes_of(config)
    assert params["head"]["fc"]["kernel"].shape[-1] == 2 and experiment.train.batch_size == 8
    assert "input: 56×56 pixels" in capsys.readouterr().out
    held = experiment.eval.source
    assert sorted(held[i]["label"] for i in range(len(held))) == [0, 1]


def test_weights_are_passed_on(tmp_path):
    config = load(f"{CLASSIFY}:smoke,model=resnet18,weights=r18.safetensors,tune=head")
    assert config.init.weights == "r18.safetensors"
    assert config.task.model.backbone.layers.norm == "frozen"
    assert config.optimizer.trainable == ("head/.*",)
    config = load(f"{DETECT}:smoke,detector=retinanet,model=resnet18,weights=zoo-name")
    assert config.init.weights == "zoo-name"
    assert config.task.model.backbone.layers.norm == "frozen"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DETECT, "name your data: train=KIND:…"),
        (f"{DETECT}:val=coco:a,b", "name your data"),
        (f"{DETECT}:train=coco:no.json,.", "no.json: No such file"),
        (f"{DETECT}:train=coc:no.json,.", "unknown kind 'coc' - did you mean coco?"),
        (f"{DETECT}:train=coco:a.json,b,epoch=3", "no setting 'epoch' - did you mean epochs?"),
        (
            f"{DETECT}:{SHAPES},detector=yolov3",
            "use faster_rcnn, mask_rcnn, retinanet, ssd or yolo",
        ),
        (
            f"{DETECT}:{SHAPES},model=resnet49",
            "use small, resnet18, resnet34, resnet50 or resnet101",
        ),
        (f"{DETECT}:{SHAPES},detector=yolo,model=resnet50", "use small, tiny or darknet53"),
        (f"{DETECT}:{SHAPES},size=100", "it must be a multiple of 32"),
        (f"{DETECT}:{SHAPES},size=-32", "size=-32 must be above 0"),
        (f"{DETECT}:{SHAPES},detector=ssd,model=vgg16,size=416", "takes 300 or 512"),
        (f"{DETECT}:{SHAPES},batch=50", "batch=50: there are 32 images to train on"),
        (f"{DETECT}:{SHAPES},epochs=x", "'epochs' takes a float"),
        (f"{DETECT}:{SHAPES},val=tfds:shapes/det64,train[:9],holdout=0.1", "without val"),
        (f"{DETECT}:train=folder:.", "a folder source has no boxes"),
        (f"{DETECT}:detector=mask_rcnn,train=voc:.", "a voc source has no masks"),
        (f"{CLASSIFY}:train=coco:a.json,b", "a coco source has no class for each image"),
        (f"{CLASSIFY}:smoke,tune=head", "tune=head is for networks that start from weights"),
        (f"{CLASSIFY}:smoke,tune=some,weights=x", "tune='some': use one of head"),
        (f"{SEGMENT}:train=voc:.", "a voc source has no masks"),
        (f"{SEGMENT}:smoke,model=fcn", "use small, fcn_resnet50 or deeplabv3_resnet50"),
    ],
)
def test_a_mistake_is_one_line(spec, message, tmp_path, capsys):
    assert launch.main(["--config", spec, "--workdir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_data_that_teach_nothing(tmp_path, folder):
    document = json.loads((folder / "train.json").read_text())
    (folder / "empty.json").write_text(json.dumps({**document, "annotations": []}))
    empty = f'coco:{folder / "empty.json"},"{folder / "a, b=c"}"'
    with pytest.raises(UserError, match="no object with a box"):
        load(f"{DETECT}:train={empty}")
    assert load(f"{DETECT}:train={coco(folder)},val={empty}").best == ""
    for path in (folder / "a, b=c").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of the training images can be read"):
        load(f"{DETECT}:train={coco(folder)}")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    for k in range(3):
        Image.new("RGB", (9, 9)).save(tmp_path / "one" / "cat" / f"{k}.png")
    with pytest.raises(UserError, match="two classes or more"):
        load(f"{CLASSIFY}:train=folder:{tmp_path / 'one'}")


def test_model_names_are_all_of_the_docstring():
    text = load_text(DETECT)
    for detector in own_detectors.DETECTORS:
        assert detector in text
        for name in own_detectors.model_names(detector):
            assert name in text


def load_text(file):
    with open(file) as opened:
        return opened.read()


def test_flags_still_reach_every_setting(folder):
    config = load(f"{DETECT}:train={coco(folder)}")
    override(config, "train.max_boxes", "3")
    override(config, "task.model.rpn.anchor_ratios", "(1.0,)")
    assert build(spread(config).train).max_boxes == 3


@pytest.fixture
def people(tmp_path):
    """Three people with six images each of 40×30, and a fourth with one."""
    rng = np.random.default_rng(0)
    for who, count in (("ann", 6), ("bob", 6), ("cid", 6), ("dan", 1)):
        (tmp_path / "people" / who).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "people" / who / f"{k}.png")
    return tmp_path / "people"


def test_faces_of_ones_own(people, capsys):
    config = load(f"{FACES}:train=folder:{people},val=folder:{people},per_identity=3")
    assert config.train.batch_size == 12 and config.train.per_class == 3
    assert "input: 32×32 pixels, 3 images per identity" in capsys.readouterr().out
    assert {transform.size for transform in config.eval.transforms} == {32}
    facenet = load(f"{FACES}:train=folder:{people},val=folder:{people},model=facenet")
    assert facenet.task.model.target.endswith("InceptionResNetV1")
    assert facenet.eval.transforms[0].size == 160
    few = people.parent / "few"
    few.mkdir()
    (people / "dan").rename(few / "dan")
    (people / "cid").rename(few / "cid")
    for arg, message in (
        (f"train=folder:{few / 'cid'}", "no class folders"),
        (f"train=folder:{few},val=folder:{people / 'ann'}", "no class folders"),
        ("train=coco:a.json,b", "has no identity for each image"),
        ("", "name your data"),
        (f"train=folder:{few},model=resnet50", "model='resnet50': use small or facenet"),
    ):
        with pytest.raises(UserError, match=message):
            load(f"{FACES}:{arg}")
    for who in ("dan", "cid"):
        for file in sorted((few / who).iterdir())[1:]:
            file.unlink()
    with pytest.raises(UserError, match="one of them with two images"):
        load(f"{FACES}:train=folder:{few},val=folder:{people}")
