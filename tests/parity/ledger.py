"""The parity ledger: measures how far each network is from its reference for docs/parity.md.

    python -m tests.parity.ledger              measure what ledger.json does not hold yet
    python -m tests.parity.ledger vgg16 …      measure these anew
    python -m tests.parity.ledger --table      only write the table

Each network runs with the golden file's weights and images in float32 and in float64, and its
outputs are compared with those that the reference computed in float64. `pytest -m golden` holds
the same outputs, and the losses, gradients and running statistics too, to their tolerances.
Detectors are compared in evaluation: every map, proposal and detection that the file holds.
"""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.golden.seeded import Golden, subsample
from tests.parity import (
    golden_cases,
    golden_rcnn,
    test_golden_captioners,
    test_golden_deepmask,
    test_golden_detectors,
    test_golden_detr,
    test_golden_mtcnn,
    test_golden_pix2seq_network,
    test_golden_retinanet,
    test_golden_rfcn,
    test_golden_ssd,
    test_golden_stylizers,
    test_golden_yolo,
)
from vision_jax import weights
from vision_jax.config import UserError, suggest
from vision_jax.inspect import summarize

LEDGER = Path(__file__).parents[1] / "golden" / "ledger.json"
PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
BEGIN, END = "<!-- parity -->", "<!-- /parity -->"
HEADER = (
    "| model | reference | max \\|Δ\\| float32 | max \\|Δ\\| float64 | largest output"
    " | parameters | multiply-adds |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
)


@dataclasses.dataclass(frozen=True)
class DetectorCase:
    """A detector's comparison, which its golden test makes.

    Attributes:
      network: makes the network of a golden file.
      check: compares, given golden, network, variables and dtype; notes the differences in the
        golden.
      size: side of the image for which operations are counted.
      takes_sizes: whether the network asks for the sizes of images.
    """

    network: Callable[[Golden], nn.Module]
    check: Callable[[Golden, nn.Module, dict, type], object]
    size: int
    takes_sizes: bool = True


RCNN = DetectorCase(golden_rcnn.network, test_golden_detectors.check_eval, 800)
DENSE = DetectorCase(test_golden_retinanet.network, test_golden_retinanet.check_eval, 800)
MASKS = DetectorCase(test_golden_deepmask.network, test_golden_deepmask.check_eval, 224)
DETR = DetectorCase(test_golden_detr.network, test_golden_detr.check_eval, 800)
RFCN = DetectorCase(test_golden_rfcn.network, test_golden_rfcn.check_eval, 800)
YOLO = DetectorCase(test_golden_yolo.network, test_golden_yolo.check_eval, 416)
DETECTORS = {
    "fasterrcnn_resnet50_fpn": RCNN,
    "maskrcnn_resnet50_fpn": RCNN,
    "keypointrcnn_resnet50_fpn": RCNN,
    "fasterrcnn_resnet50_fpn_v2": RCNN,
    "maskrcnn_resnet50_fpn_v2": RCNN,
    "retinanet_resnet50_fpn": DENSE,
    "retinanet_resnet50_fpn_v2": DENSE,
    "fcos_resnet50_fpn": DENSE,
    "detr_resnet50": DETR,
    "hf_detr_resnet50": DETR,
    "rfcn_resnet50": RFCN,
    "rfcn_resnet101_k3_dilated": RFCN,
    "ssd300_vgg16": DetectorCase(test_golden_ssd.network, test_golden_ssd.check_eval, 300),
    "ssd300_vgg16_original": DetectorCase(
        test_golden_ssd.original, test_golden_ssd.check_original, 300
    ),
    **{
        f"mtcnn_{name}": DetectorCase(
            test_golden_mtcnn.network, test_golden_mtcnn.check_eval, side, takes_sizes=False
        )
        for name, side in (("pnet", 12), ("rnet", 24), ("onet", 48))
    },
    "deepmask_resnet50": MASKS,
    "sharpmask_resnet50": MASKS,
    "yolov3": YOLO,
    "yolov3_tiny": YOLO,
}
# Decoders of captions, and which of the stored outputs each computes from a dtype.
CAPTIONERS = {
    "caption_show_and_tell": ("train/token_loss", test_golden_captioners.token_losses),
    "caption_lstm": ("eval/packed_logits", test_golden_captioners.packed_logits),
}
PIX2SEQ = "pix2seq_small"
# Networks that make images: side of the image for which operations are counted.
STYLIZERS = {
    "johnson_style_paper_bn": 256,
    "johnson_style_paper_in": 256,
    "johnson_super_x4": 72,
    "johnson_super_x8": 36,
    "transformer_net": 256,
}
NAMES = (*golden_cases.CASES, *DETECTORS, PIX2SEQ, *CAPTIONERS, *STYLIZERS)


def main(arguments: list[str]) -> None:
    """Measures networks and writes the table; the module says which, by the arguments.

    Raises:
      UserError: a name without a network or without a golden file.
    """
    files = {path.stem: path for path in golden_cases.FOLDER.rglob("*.npz") if path.stem in NAMES}
    rows = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    names = [] if "--table" in arguments else arguments or [n for n in files if n not in rows]
    for name in names:
        if name not in files:
            raise UserError(f"no golden file of a network named {name!r}{suggest(name, files)}")
    for name in names:
        rows[name] = measure(files[name])
        print(name, rows[name], flush=True)
        ordered = {n: rows[n] for n in NAMES if n in rows}
        LEDGER.write_text(json.dumps(ordered, indent=1) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), table(rows)))


def measure(path: Path) -> dict:
    """Returns one network's row."""
    if path.stem in DETECTORS:
        return _measure_detector(Golden(path), DETECTORS[path.stem])
    if path.stem in CAPTIONERS:
        return _measure_captioner(Golden(path), *CAPTIONERS[path.stem])
    if path.stem in STYLIZERS:
        return _measure_stylizer(path.stem, STYLIZERS[path.stem])
    if path.stem == PIX2SEQ:
        return _measure_pix2seq()
    golden, case = Golden(path), golden_cases.CASES[path.stem]
    image = jax.ShapeDtypeStruct((1, case.size, case.size, 3), jnp.float32)
    layers = summarize(case.model(), image).layers
    infos = golden.meta["outputs"].values()
    return {
        "reference": golden.meta["source"],
        "float32": _distance(golden, case, np.float32),
        "float64": _distance(golden, case, np.float64),
        "reference_float32": max(info["float32_max_abs_diff"] for info in infos),
        "largest": max(info["absmax"] for info in infos),
        "parameters": golden_cases.parameters(golden, case),
        "size": case.size,
        "multiply_adds": sum(n.multiply_adds for n in layers if not n.path.startswith("head/aux")),
    }


def _measure_detector(golden: Golden, detector: DetectorCase) -> dict:
    """Returns a detector's row; differences are those that its golden test notes."""
    model = detector.network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            detector.check(golden, model, variables, dtype)
    worst = {
        dtype: max(error for (_, of), error in golden.errors.items() if of == dtype)
        for dtype in ("float32", "float64")
    }
    image = jax.ShapeDtypeStruct((1, detector.size, detector.size, 3), jnp.float32)
    infos = [golden.meta["outputs"][name] for name, _ in golden.errors]
    sizes = (jnp.zeros((1, 2)),) if detector.takes_sizes else ()
    return {
        "reference": golden.meta["source"],
        **worst,
        "reference_float32": max(info["float32_max_abs_diff"] for info in infos),
        "largest": max(info["absmax"] for info in infos),
        "parameters": sum(x.size for x in jax.tree.leaves(state["params"])),
        "size": detector.size,
        "multiply_adds": summarize(model, image, *sizes).multiply_adds,
    }


def _measure_captioner(golden: Golden, name: str, compute: Callable[[type], jax.Array]) -> dict:
    """Returns a captioner's row, of its decoder alone: operations are those of one word."""
    shapes = golden.meta["shapes"]
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    products = [n for n, shape in shapes.items() if len(shape) == 2 and "embed" not in n]
    return {
        **_compared(golden, name, compute),
        "parameters": sum(sizes.values()),
        "size": 1,
        "multiply_adds": sum(sizes[name] for name in products),
    }


def _measure_pix2seq() -> dict:
    """Returns Pix2Seq's row, of reading given tokens; operations are those of writing as many."""
    of = test_golden_pix2seq_network
    model, variables, images, sizes, _ = of.given(np.float32)
    return {
        **_compared(of.GOLDEN, "eval/logits", of.given_logits),
        "parameters": sum(x.size for x in jax.tree.leaves(variables["params"])),
        "size": images.shape[1],
        "multiply_adds": summarize(model, images[:1], sizes[:1]).multiply_adds,
    }


def _measure_stylizer(name: str, side: int) -> dict:
    """Returns the row of a network that makes images, of what it makes in evaluation."""
    golden, model, state = test_golden_stylizers.restored(name)

    def compute(dtype: type) -> jax.Array:
        variables = jax.tree.map(lambda a: jnp.asarray(a, dtype), state)
        return test_golden_stylizers.answered(golden, model, variables)

    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return {
        **_compared(golden, "eval/out", compute),
        "parameters": sum(x.size for x in jax.tree.leaves(state["params"])),
        "size": side,
        "multiply_adds": summarize(model, image).multiply_adds,
    }


def _compared(golden: Golden, name: str, compute: Callable[[type], jax.Array]) -> dict:
    """Returns the part of a row that compares one output, computed in both precisions.

    A reference that computed in float32 alone has no error on record: it is told by ours in
    float64.
    """
    worst, info = {}, golden.meta["outputs"][name]
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            ours = subsample(np.asarray(compute(np.dtype(dtype).type)), info["stride"])
        worst[dtype] = float(np.abs(ours - golden[name].reshape(-1)).max())
    return {
        "reference": golden.meta["source"],
        **worst,
        "reference_float32": info.get("float32_max_abs_diff", worst["float64"]),
        "largest": float(np.abs(golden[name]).max()),
        "stored": str(golden[name].dtype),
        "computed": "float64" if "float32_max_abs_diff" in info else "float32",
    }


def table(rows: dict[str, dict]) -> str:
    """Returns the rows as Markdown, in the order of `NAMES`."""
    lines = list(HEADER)
    for name in NAMES:
        if name in rows:
            row = rows[name]
            lines.append(
                f"| {name} | `{_short(row['reference'])}` | {row['float32']:.1e}"
                f" | {row['float64']:.1e} | {row['largest']:.3g} | {row['parameters']:,}"
                f" | {row['multiply_adds'] / 1e9:.3f} G |"
            )
    return "\n".join(lines)


def _short(call: str) -> str:
    """Returns a constructor call without its arguments that say "no downloaded weights"."""
    for argument in ("init_weights=False", "weights=None", "pretrained=False"):
        call = call.replace(f", {argument}", "").replace(f"{argument}, ", "").replace(argument, "")
    return call


def with_table(text: str, new: str) -> str:
    """Returns the page with the text between its markers replaced by the table `new`.

    Raises:
      UserError: the markers are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{PAGE.name} has no place for the table: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def _distance(golden: Golden, case: golden_cases.Case, dtype: type) -> float:
    """Returns the largest absolute difference over all outputs, in evaluation and training mode."""
    model = golden_cases.without_dropout(case.model())
    state = weights.from_reference(golden.state_dict(), model)
    worst = 0.0
    with jax.enable_x64(dtype is np.float64):
        variables = jax.tree.map(lambda a: jnp.asarray(a, dtype), state)
        for phase, arrays in golden_cases.inputs(golden).items():
            mode = {"train": phase == "train", "mutable": ["batch_stats"]}
            run = jax.jit(functools.partial(model.apply, **mode))
            outputs, _ = run(variables, jnp.asarray(arrays["x"], dtype))
            for name, info in golden.meta["outputs"].items():
                if name.startswith(f"{phase}/"):
                    key = name.removeprefix(f"{phase}/")
                    ours = np.asarray(golden_cases.named(outputs, case, key))
                    difference = subsample(ours, info["stride"]) - golden[name]
                    worst = max(worst, float(np.abs(difference).max()))
    return worst


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
