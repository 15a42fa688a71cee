"""PASCAL VOC as TFDS builders of our own, prepared without TensorFlow from the official archives.

They differ from TFDS's `voc`: boxes are the annotations' numbers, not quotients that multiply back
to almost the same; records keep the order of VOC's lists; and there is semantic segmentation, with
SBD's (Hariharan et al. 2011) larger training set.
"""

import contextlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image

from vision_jax.data import voc_xml
from vision_jax.data.decode import decode_labels

TRAINVAL = {"2007": "VOCtrainval_06-Nov-2007.tar", "2012": "VOCtrainval_11-May-2012.tar"}
TEST = {"2007": "VOCtest_06-Nov-2007.tar", "2012": "VOC2012test.tar"}
SBD = "benchmark.tgz"
SEGMENTED = ("background", *voc_xml.CLASSES)  # 255 is void: borders and what nobody could tell
_BY_HAND = "Put the official archives into manual_dir."


class VocObjects(tfds.core.GeneratorBasedBuilder):
    """VOC's boxes of 20 classes; splits train, validation and test.

    2012's test split has no objects, and is there only where its archive is. An image's id is its
    file name's stem, such as 000005.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=year) for year in ("2007", "2012")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = _BY_HAND

    def _info(self) -> tfds.core.DatasetInfo:
        objects = {
            # xmin, ymin, xmax, ymax in pixels as annotated: whole numbers from 1.
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "label": tfds.features.ClassLabel(names=voc_xml.CLASSES),
            "is_difficult": np.bool_,
            "is_truncated": np.bool_,
            "pose": tfds.features.Text(),
        }
        return _info(self, {"objects": tfds.features.Sequence(objects)})

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder, year = Path(dl_manager.manual_dir), self.builder_config.name
        archives = {"train": TRAINVAL[year], "validation": TRAINVAL[year]}
        if (folder / TEST[year]).is_file():
            archives["test"] = TEST[year]
        return {
            split: self._generate_examples(folder / archive, split)
            for split, archive in archives.items()
        }

    def _generate_examples(self, archive: Path, split: str) -> Iterator[tuple[str, dict]]:
        listed = "val" if split == "validation" else split
        with open_year(archive, self.builder_config.name) as year:
            for stem in year.lines(f"ImageSets/Main/{listed}.txt"):
                yield (
                    stem,
                    {
                        "image": io.BytesIO(year.read(f"JPEGImages/{stem}.jpg")),
                        "image/filename": f"{stem}.jpg",
                        "objects": _objects(year, stem),
                    },
                )


class VocSegmentation(tfds.core.GeneratorBasedBuilder):
    """VOC 2012's semantic segmentation: 21 labels, 0 being the background, and 255 for void.

    Config `2012`: train (1464 images) and validation (1449). Config `2012_aug` adds SBD:
    train is what is called train_aug, SBD's images and VOC's train less VOC's validation (10582),
    labelled by VOC where VOC does; sbd_train is SBD's own train list (8498), labelled by SBD;
    validation_less_sbd is validation without sbd_train's images.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("2012", "2012_aug")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = _BY_HAND

    def _info(self) -> tfds.core.DatasetInfo:
        labels = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        # The label list rides along as the name of each pixel's class.
        names = tfds.features.Sequence(tfds.features.ClassLabel(names=SEGMENTED))
        return _info(self, {"segmentation": labels, "segmentation/classes": names})

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = Path(dl_manager.manual_dir)
        with open_year(folder / TRAINVAL["2012"], "2012") as year:
            train = year.lines("ImageSets/Segmentation/train.txt")
            validation = year.lines("ImageSets/Segmentation/val.txt")
        splits = {"train": train, "validation": validation}
        masks: dict[str, bytes] = {}
        if self.builder_config.name == "2012_aug":
            masks, lists = _read_sbd(folder / SBD)
            splits["train"] = sorted({*train, *lists["train"], *lists["val"]} - {*validation})
            splits["validation_less_sbd"] = [s for s in validation if s not in set(lists["train"])]
            splits["sbd_train"] = lists["train"]
        archive, by_voc = folder / TRAINVAL["2012"], {*train, *validation}
        return {
            split: self._generate_examples(
                archive, stems, masks, set() if split == "sbd_train" else by_voc
            )
            for split, stems in splits.items()
        }

    def _generate_examples(
        self, archive: Path, stems: list[str], sbd: dict[str, bytes], by_voc: set[str]
    ) -> Iterator[tuple[str, dict]]:
        with open_year(archive, "2012") as year:
            for stem in stems:
                if stem in by_voc:
                    labels = decode_labels(year.read(f"SegmentationClass/{stem}.png"))
                else:
                    labels = scipy.io.loadmat(io.BytesIO(sbd[stem]))["GTcls"]["Segmentation"][0, 0]
                present = np.unique(labels)
                yield (
                    stem,
                    {
                        "image": io.BytesIO(year.read(f"JPEGImages/{stem}.jpg")),
                        "image/filename": f"{stem}.jpg",
                        "segmentation": _png(labels),
                        "segmentation/classes": [int(k) for k in present if k < len(SEGMENTED)],
                    },
                )


class Year:
    """One year's folder in an archive of VOC's; files are read in any order, none is unpacked."""

    def __init__(self, tar: tarfile.TarFile, name: str, year: str):
        self._tar, self._archive = tar, name
        # Some archives begin with another folder; the year is what they agree on.
        self._members = {
            member.name.partition(f"VOC{year}/")[2]: member
            for member in tar
            if member.isfile() and f"VOC{year}/" in member.name
        }

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """Returns a file's bytes; raises ValueError where the archive has no such file."""
        if name not in self._members:
            raise ValueError(f"{self._archive} has no {name}")
        return _content(self._tar, self._members[name])

    def lines(self, name: str) -> list[str]:
        """Returns the first word of each line of a file."""
        return [line.split()[0] for line in self.read(name).decode().splitlines() if line.split()]


@contextlib.contextmanager
def open_year(archive: Path, year: str) -> Iterator[Year]:
    """Opens an archive of VOC's for reading one year's files."""
    with tarfile.open(archive, "r:") as tar:
        yield Year(tar, archive.name, year)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Returns a regular file's bytes."""
    file = tar.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is no file")
    return file.read()


def _info(builder: tfds.core.DatasetBuilder, features: dict) -> tfds.core.DatasetInfo:
    """Describes a data set of images with these features."""
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    named = {"image": image, "image/filename": tfds.features.Text()}
    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict({**named, **features}),
        homepage="http://host.robots.ox.ac.uk/pascal/VOC/",
        disable_shuffling=True,  # records keep the order of VOC's lists
    )


def _objects(year: Year, stem: str) -> list[dict]:
    """Returns an image's objects in the form that the builder's features encode."""
    if f"Annotations/{stem}.xml" not in year:
        return []  # the annotations of the 2012 test set are not public
    try:
        things = voc_xml.objects(year.read(f"Annotations/{stem}.xml"))
    except ValueError as error:
        raise ValueError(f"{stem}.xml: {error}") from error
    return [
        {
            "box": np.asarray(thing.box, np.float32),
            "label": thing.name,
            "is_difficult": thing.difficult,
            "is_truncated": thing.truncated,
            "pose": thing.pose,
        }
        for thing in things
    ]


def _read_sbd(archive: Path) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """Returns SBD's .mat files by stem, and its lists; one pass, as the archive is compressed."""
    masks: dict[str, bytes] = {}
    lists: dict[str, list[str]] = {}
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            path = Path(member.name)
            if member.isfile() and path.parent.name == "cls" and path.suffix == ".mat":
                masks[path.stem] = _content(tar, member)
            elif member.isfile() and path.parent.name == "dataset" and path.suffix == ".txt":
                lists[path.stem] = _content(tar, member).decode().split()
    if not {"train", "val"} <= {*lists}:
        raise ValueError(f"{archive.name} has no dataset/train.txt and dataset/val.txt")
    return masks, lists


def _png(labels: np.ndarray) -> io.BytesIO:
    """Encodes label numbers as a gray PNG; VOC's palette would become colours in OpenCV."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(labels, np.uint8)).save(buffer, "PNG")
    buffer.seek(0)
    return buffer
