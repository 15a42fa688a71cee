"""The files of an exported program: the program itself, and a description beside it.

`model.stablehlo` is what `jax.export` serialises: StableHLO in the portable form that later
versions of JAX read. `model.onnx` is an ONNX model. The name with `.json` behind it holds what a
caller has to know besides: the names of the classes, how pictures are prepared, and with which
versions the program was made.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from vision_jax.config import UserError
from vision_jax.report.folder import write_atomically

Caller = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]  # images, size, scale
ONNX = "onnx"  # the platform of ONNX models


@dataclasses.dataclass(frozen=True)
class Description:
    """All that is known of an exported program.

    Attributes:
      kind: of the outputs. 'classes' (softmax) and 'multilabel' (sigmoid): `logits` (b, k).
        'objects': `boxes` (b, n, 4) xyxy, `scores`, `labels`, `valid` (b, n), and where the
        detector has them `masks` (b, n, s, s), probabilities within each box, and `keypoints`
        (b, n, k, 3). 'pixels': `segmentation` (b, h, w) int32. 'places': `logits`, and `boxes` or
        `points`. 'captions': `tokens` (b, t), whose words are the classes, `score` (b,), and where
        the network looks at places `attention` (b, t - 1, h, w). Boxes and points are in pixels of
        the original images.
      classes: the names of labels 0..C-1; () where nobody knows them.
      image: height, width and channels of the images that it takes, uint8 RGB.
      batch: images per call; None is any number.
      transforms: how pictures become such images, as a config in JSON.
      platforms: where it runs.
      weights: where they are from.
      jax_version: of the JAX that made it.
    """

    kind: str
    classes: tuple[str, ...]
    image: tuple[int, ...]
    batch: int | None
    transforms: Any
    platforms: tuple[str, ...]
    weights: str
    jax_version: str


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported program and its description.

    Attributes:
      exported: `exported.call(images, size, scale)` takes (b, h, w, c) uint8, and (b, 2) float32
        height and width of the original images and pixels of the input per original pixel (y, x);
        it returns named arrays.
      description: see there.
    """

    exported: jax_export.Exported
    description: Description

    def save(self, file: pathlib.Path) -> None:
        """Writes the program, and its description as FILE.json.

        Raises:
          UserError: the files cannot be written.
        """
        _write(file, bytes(self.exported.serialize()), self.description)

    def caller(self) -> Caller:
        """Makes the function of the program, compiled when it is called."""
        return jax.jit(self.exported.call)


@dataclasses.dataclass(frozen=True)
class OnnxArtifact:
    """An ONNX model and its description.

    Attributes:
      model: serialised; it takes and returns what `Artifact.exported.call` does, by name.
      description: see there; its platform is 'onnx'.
    """

    model: bytes
    description: Description

    def save(self, file: pathlib.Path) -> None:
        """Writes the model, and its description as FILE.json.

        Raises:
          UserError: the files cannot be written.
        """
        _write(file, self.model, self.description)

    def caller(self) -> Caller:
        """Makes the function of the model, which ONNX Runtime computes.

        Raises:
          UserError: onnxruntime is not installed, or does not read the model.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("an ONNX model is run by onnxruntime: pip install it") from error
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors
            session = onnxruntime.InferenceSession(self.model, options)
        except Exception as error:  # its own classes, of which it exports none
            reason = str(error).splitlines()[0]
            raise UserError(f"onnxruntime does not read this model: {reason}") from error
        known = [value.name for value in session.get_inputs()]
        outputs = [value.name for value in session.get_outputs()]

        def call(images: np.ndarray, size: np.ndarray, scale: np.ndarray) -> dict[str, Any]:
            fed = {"images": images, "size": size, "scale": scale}
            found = session.run(outputs, {name: np.asarray(fed[name]) for name in known})
            return dict(zip(outputs, found, strict=True))

        return call


def _write(file: pathlib.Path, program: bytes, description: Description) -> None:
    described = json.dumps(dataclasses.asdict(description), indent=1).encode()
    try:
        write_atomically(file, program)
        write_atomically(_beside(file), described)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from error


def load(file: pathlib.Path) -> Artifact | OnnxArtifact:
    """Reads an exported program; no code of the network is needed.

    Raises:
      UserError: a file that is missing, damaged, or made for other platforms or versions.
    """
    try:
        described = json.loads(_beside(file).read_text())
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{_beside(file)} is damaged: {error}") from error
    try:
        lists = {name: tuple(described[name]) for name in ("classes", "image", "platforms")}
        description = Description(**{**described, **lists})
        if description.platforms == (ONNX,):
            return OnnxArtifact(content, description)
        exported = jax_export.deserialize(bytearray(content))
    except Exception as error:  # flatbuffers and MLIR raise all kinds on bad files
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        made = described.get("jax_version") if isinstance(described, dict) else None
        by = f", made by JAX {made}; this is {jax.__version__}" if made else ""
        raise UserError(f"{file} cannot be read ({text[:120]}){by}") from error
    if jax.default_backend() not in _backends(exported.platforms):
        raise UserError(
            f"{file} is for {', '.join(exported.platforms)}, this is {jax.default_backend()}; "
            "export it with --platforms"
        )
    return Artifact(exported, description)


def _backends(platforms: tuple[str, ...]) -> set[str]:
    """Returns platforms under the names that JAX gives to their devices."""
    return {"gpu" if name in ("cuda", "rocm") else name for name in platforms}


def _beside(file: pathlib.Path) -> pathlib.Path:
    return file.with_name(f"{file.name}.json")
