"""Faces of photographs: cut out and aligned, or compared with each other.

    python -m vision_jax.show.faces align PHOTOS OUT
    python -m vision_jax.show.faces compare A.jpg B.jpg … --weights 20180402-114759-vggface2.pt

`align` finds the faces of all images in a folder and writes each image's largest one to the same
place below OUT; `compare` tells of every two images how far their largest faces are from each
other. Both find faces with MTCNN's published weights. Networks that embed faces are not shipped:
`--weights` takes a file in facenet-pytorch's names, or the folder of a run that trained one, such
as of `experiments/own_faces.py`.
"""

import argparse
import functools
import itertools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vision_jax import models, weights
from vision_jax.config import CommandLine, UserError, build, number
from vision_jax.data import Canvas, pictures
from vision_jax.data.folders import folder_at, images_below
from vision_jax.data.loading import fed
from vision_jax.models.layers import NO_NORM
from vision_jax.ops.alignment import align_face
from vision_jax.show.trained import run_of
from vision_jax.system import disk, output
from vision_jax.tasks import Detection, Embedding
from vision_jax.training import signature
from vision_jax.weights import tfjs

DETECTOR = pathlib.Path(__file__).parents[2] / "experiments" / "weights" / "mtcnn.safetensors"
# facenet's crops: 182 pixels with a margin of 44 around the box, whatever its proportions.
MARGIN = 44 / (182 - 44)
# Eyes, nose and corners of the mouth in a picture of 112 pixels (InsightFace's template).
TEMPLATE = np.array(
    [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float32
)
SIZE = 160
THRESHOLD = 1.1  # squared distance; FaceNet's figure 1 tells pairs apart by it
# dlib's crops as face-api cuts them: where the middle of eyes and mouth lies, and how far the eyes
# are from the mouth, in sides of the crop; its distances are of features of any length.
DLIB_MIDDLE, DLIB_SCALE = np.array([0.5, 0.43], np.float32), 0.45
DLIB_SIZE, DLIB_THRESHOLD = 150, 0.6**2
DLIB_MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)


class Face(NamedTuple):
    """A face in an image's pixels."""

    box: np.ndarray  # (4,) xyxy
    points: np.ndarray  # (5, 2)
    score: float


class Comparer(NamedTuple):
    """A network that tells faces apart."""

    embed: Callable[[np.ndarray], np.ndarray]  # a crop (size, size, 3) uint8 → (d,)
    size: int = SIZE
    threshold: float = THRESHOLD
    template: np.ndarray = TEMPLATE / 112  # (5, 2), where landmarks lie, in sides
    how: str = "box"  # as its makers align; see `aligned`


class Finder:
    """A search for faces in images of any size.

    Args:
      detector: file of MTCNN's weights.

    Raises:
      UserError: the file is missing or does not fit.
    """

    def __init__(self, detector: pathlib.Path = DETECTOR):
        if detector == DETECTOR and not detector.is_file():  # an installed package
            raise UserError(
                "MTCNN's weights lie in the checkout; name them by --detector "
                "CHECKOUT/experiments/weights/mtcnn.safetensors"
            )
        model = models.MTCNN()
        variables = weights.load(detector, model)
        task = Detection(model, mean=(0.0,) * 3, std=(1 / 255,) * 3)
        self._predict = jax.jit(lambda batch: task.predict(variables, batch)["detections"])

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Returns the faces of an image (h, w, 3) uint8, the largest first."""
        if min(image.shape[:2]) < models.MTCNN.min_size:
            return []
        batch = fed(image, (Canvas(),))
        found = jax.tree.map(lambda x: np.asarray(x[0]), self._predict(batch))
        scale = np.asarray(batch.scale[0])[::-1]  # of x, y
        faces = [
            Face(box / np.tile(scale, 2), points[:, :2] / scale, float(score))
            for box, points, score, valid in zip(
                found.boxes, found.keypoints, found.scores, found.valid, strict=True
            )
            if valid
        ]
        return sorted(faces, key=lambda face: -np.prod(face.box[2:] - face.box[:2]))


def aligned(
    image: np.ndarray,
    face: Face,
    how: str,
    size: int = SIZE,
    template: np.ndarray = TEMPLATE / 112,
) -> np.ndarray:
    """Returns a face as a network reads it, uint8 (size, size, 3).

    Args:
      image: uint8 (h, w, 3).
      face: in its pixels.
      how: 'box', facenet's crop: the box with a margin, stretched to a square; 'landmarks', turned
        and scaled so that eyes, nose and mouth lie where the template has them.
      size: side of the result.
      template: (5, 2), InsightFace's by default, in sides of the result.
    """
    if how == "landmarks":
        places = jnp.asarray(size * template)
        picture = _align(size)(jnp.asarray(image, jnp.float32), jnp.asarray(face.points), places)
        return np.clip(np.round(np.asarray(picture)), 0, 255).astype(np.uint8)
    sides = (face.box[2:] - face.box[:2]) * MARGIN / 2
    low = np.maximum(np.round(face.box[:2] - sides), 0).astype(int)
    high = np.minimum(np.round(face.box[2:] + sides), image.shape[1::-1]).astype(int)
    crop = Image.fromarray(image[low[1] : high[1], low[0] : high[0]])
    return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))


def align(
    photos: str,
    out: str,
    how: str,
    detector: pathlib.Path,
    turned: bool = False,
    size: int = SIZE,
) -> int:
    """Writes the largest face of each image below a folder to the same place below another.

    Args:
      photos: the folder of images.
      out: the folder that is written.
      how: see `aligned`.
      detector: file of MTCNN's weights.
      turned: turn images by their EXIF tag.
      size: side of the results.

    Returns:
      The number of faces that were written; images without one are told.

    Raises:
      UserError: no such folder, no image in it; and, at the end, images that could not be read.
    """
    root, target = folder_at(photos), pathlib.Path(out).expanduser()
    files = [file for file in images_below(root) if target not in file.parents]
    if not files:
        raise UserError(f"{photos!r} holds no image")
    find, count, unread = Finder(detector), 0, list[pathlib.Path]()
    for file in files:
        try:
            image = _read(file, turned)
        except UserError as error:
            unread.append(file)
            print(f"left out: {error}", file=sys.stderr)
            continue
        faces = find(image)
        if not faces:
            print(f"{file}: no face")
            continue
        place = target / file.relative_to(root).with_suffix(".png")
        disk.make_folder(place.parent)
        Image.fromarray(aligned(image, faces[0], how, size)).save(place)
        more = f", the largest of {len(faces)}" if len(faces) > 1 else ""
        print(f"{file}: {place}{more}")
        count += 1
    print(f"{count} faces of {len(files)} images in {target}")
    if unread:
        raise UserError(
            f"{len(unread)} of {len(files)} images could not be read, such as {str(unread[0])!r}"
        )
    return count


def compare(
    files: list[str],
    embedder: str,
    threshold: float | None,
    how: str | None,
    detector: pathlib.Path,
    turned: bool = False,
) -> np.ndarray:
    """Tells of every two images how far their largest faces are from each other.

    Args:
      files: images.
      embedder: file of Inception-ResNet v1's or dlib's weights, or a run's folder.
      threshold: of the squared distance, below which two faces are one person's; None: that which
        the network's makers name, FaceNet's for a run.
      how: see `aligned`; None: as the network's makers do.
      detector: file of MTCNN's weights.
      turned: turn images by their EXIF tag.

    Returns:
      Squared distances (n, n) of the embeddings, in [0, 4], or of dlib's features.

    Raises:
      UserError: fewer than two images, one that cannot be decoded or shows no face, weights that do
        not fit, or a run of something else.
    """
    if len(files) < 2:
        raise UserError(f"compare needs at least two images, not {len(files)}")
    network = _comparer(embedder)
    limit = network.threshold if threshold is None else threshold
    how = how or network.how
    find, crops = Finder(detector), []
    for file in files:
        image = _read(pathlib.Path(file), turned)
        faces = find(image)
        if not faces:
            raise UserError(f"{file!r}: no face was found")
        crops.append(aligned(image, faces[0], how, network.size, network.template))
    rows = np.stack([network.embed(crop) for crop in crops])
    squared = np.square(rows[:, None] - rows[None]).sum(-1)
    for i, j in itertools.combinations(range(len(files)), 2):
        verdict = "the same person" if squared[i, j] < limit else "two people"
        print(f"{files[i]} {files[j]}: {squared[i, j]:.3f}, {verdict}")
    return squared


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; see the module."""
    raw = argparse.RawDescriptionHelpFormatter
    name = "python -m vision_jax.show.faces"
    parser = CommandLine(prog=name, description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("align", help="cut out and align faces")
    one.add_argument("photos", help="folder of images, with sub-folders")
    one.add_argument("out", help="folder that is written")
    two = commands.add_parser("compare", help="tell how far faces are from each other")
    two.add_argument("images", nargs="+")
    two.add_argument("--weights", required=True, help="file of a network, or a run's folder")
    two.add_argument("--threshold", type=number, help="squared distance (the network's own)")
    for command, own in ((one, "box"), (two, None)):
        command.add_argument("--by", choices=("box", "landmarks"), default=own)
        command.add_argument("--detector", type=pathlib.Path, default=DETECTOR)
        command.add_argument("--upright", action="store_true", help="turn by the EXIF tag")
    try:
        given = parser.parse_args(arguments)
        how = given.by, given.detector, given.upright
        if given.command == "align":
            align(given.photos, given.out, *how)
        else:
            compare(given.images, given.weights, given.threshold, *how)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


def _read(file: pathlib.Path, turned: bool) -> np.ndarray:
    """Decodes an image; where it is taken as stored although its EXIF tag turns it, that is told.

    Raises:
      UserError: it cannot be read.
    """
    try:
        (frame,) = pictures.read(file, 3, turned)
        if frame.turn != 1 and not turned:
            print(f"{file}: has an EXIF tag that turns it, and is taken as stored; see --upright")
        return frame.image
    except (ValueError, OSError) as error:
        raise UserError(f"{str(file)!r}: {error}") from error


def _comparer(place: str) -> Comparer:
    """Makes a network out of its file, or of a run's folder."""
    task: Embedding
    if pathlib.Path(place).is_dir():
        run = run_of(signature.read_config(pathlib.Path(place)), pathlib.Path(place))
        trained, variables, _ = run.predictor()
        if not isinstance(trained, Embedding):
            raise UserError(f"{place!r} is no run of a tasks.Embedding")
        return Comparer(_embed(trained, variables, "embedding", build(run.transforms)))
    if tfjs.manifest_of(pathlib.Path(place)):
        task = Embedding(models.DlibResNet(layers=NO_NORM), mean=DLIB_MEAN, std=(1.0,) * 3)
        embed = _embed(task, weights.load(place, task.model), "features")
        return Comparer(embed, DLIB_SIZE, DLIB_THRESHOLD, _dlib_template(), "landmarks")
    model = models.InceptionResNetV1()
    task = Embedding(model, mean=(127.5 / 255,) * 3, std=(128 / 255,) * 3)
    return Comparer(_embed(task, weights.load(place, model), "embedding"))


def _dlib_template() -> np.ndarray:
    """Moves InsightFace's landmarks to the places where face-api's crops have them."""
    eyes, mouth = TEMPLATE[:2], TEMPLATE[3:].mean(0)
    middle = np.stack([*eyes, mouth]).mean(0)
    distance = np.linalg.norm(eyes - mouth, axis=1).mean()
    return (TEMPLATE - middle) * (DLIB_SCALE / distance) + DLIB_MIDDLE


def _embed(
    task: Embedding, variables: Any, output: str, transforms: tuple = ()
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what computes one of a network's outputs of a crop."""
    apply = jax.jit(lambda v, batch: task.apply(v, task.normalize(batch.pixels))[output])
    return lambda crop: np.asarray(apply(variables, fed(crop, transforms))[0])


@functools.cache
def _align(size: int):
    return jax.jit(lambda image, points, template: align_face(image, points, template, size))


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main())
