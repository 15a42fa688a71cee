"""Tiny archives in the raw format of each official data set; and, as a program in a process of its
own, the real TFDS builders run over them:

    python tiny_archives.py ARCHIVES DATA_DIR
"""

import gzip
import io
import json
import os
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image

from vision_jax.data import coco_json

SYNSETS = ("n01440764", "n01443537")  # tench, goldfish
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [9] * 759  # of 256 colours, as VOC's
# A triangle and a square; and a crowd, as COCO writes it: run lengths down the columns.
POLYGONS = [[8, 6, 24, 6, 16, 18], [2, 2, 5, 2, 5, 5, 2, 5]]
CROWD = {"size": [24, 32], "counts": [24 * 4 + 3, 10, 24 * 32 - 24 * 4 - 13]}
CAPTIONS = ["a thing on a plain", "nothing much, naïvely put"]


def images(count, height, width, channels=3, seed=0):
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def jpeg(height=24, width=32, seed=0):
    smooth = cv2.resize(images(1, 4, 4, seed=seed)[0], (width, height))
    return cv2.imencode(".jpg", smooth)[1].tobytes()


def tar_of(files, mode="w", path=None):
    buffer = io.BytesIO()
    with tarfile.open(path, mode) if path else tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(files, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_all(folder: Path) -> None:
    for write in (write_cifar, write_mnist, write_imagenet, write_voc, write_sbd, write_coco):
        write(folder)


def write_cifar(folder):
    """Rows of label bytes, then 3072 bytes, channel by channel."""

    def rows(label_columns, seed):
        pixels = images(4, 32, 32, seed=seed).transpose(0, 3, 1, 2).reshape(4, -1)
        return np.concatenate([label_columns, pixels], 1).astype(np.uint8).tobytes()

    ten = {f"data_batch_{k}.bin": rows(np.arange(4)[:, None] + k, k) for k in range(1, 6)}
    ten["test_batch.bin"] = rows(np.arange(4)[:, None], 6)
    ten["batches.meta.txt"] = "\n".join(f"class{k}" for k in range(10)).encode()
    files = {f"cifar-10-batches-bin/{name}": data for name, data in ten.items()}
    tar_of(files, "w:gz", folder / "cifar-10-binary.tar.gz")
    coarse_fine = np.array([[1, 10], [2, 20], [3, 30], [4, 99]])
    hundred = {
        "train.bin": rows(coarse_fine, 7),
        "test.bin": rows(coarse_fine, 8),
        "coarse_label_names.txt": "\n".join(f"coarse{k}" for k in range(20)).encode(),
        "fine_label_names.txt": "\n".join(f"fine{k}" for k in range(100)).encode(),
    }
    files = {f"cifar-100-binary/{name}": data for name, data in hundred.items()}
    tar_of(files, "w:gz", folder / "cifar-100-binary.tar.gz")


def write_mnist(folder):
    for prefix, count in (("train", 6), ("t10k", 3)):
        pixels, labels = images(count, 28, 28, 1, seed=count), np.arange(count, dtype=np.uint8)
        head = struct.pack(">IIII", 2051, count, 28, 28)
        data = gzip.compress(head + pixels.tobytes())
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(data)
        data = gzip.compress(struct.pack(">II", 2049, count) + labels.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(data)


def write_imagenet(folder):
    """A tar of one tar for each synset; and the validation images in one tar."""
    train = {f"{s}.tar": tar_of({f"{s}_{k}.JPEG": jpeg(seed=k) for k in range(2)}) for s in SYNSETS}
    tar_of(train, path=folder / "ILSVRC2012_img_train.tar")
    # Labels of the first three of 50000: what the official list says of them is in the test.
    val = {f"ILSVRC2012_val_{k:08d}.JPEG": jpeg(seed=k) for k in range(1, 4)}
    tar_of(val, path=folder / "ILSVRC2012_img_val.tar")


def write_voc(folder):
    def annotation(objects):
        boxes = "".join(
            f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>"
            f"<difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, difficult, (x1, y1, x2, y2) in objects
        )
        size = "<size><width>100</width><height>50</height><depth>3</depth></size>"
        return f"<annotation>{size}{boxes}</annotation>".encode()

    objects = [("dog", 0, (10, 5, 60, 45)), ("person", 1, (1, 1, 20, 50))]
    for year, archives in (
        (
            "2007",
            {
                "VOCtrainval_06-Nov-2007.tar": ("train", "val"),
                "VOCtest_06-Nov-2007.tar": ("test",),
            },
        ),
        ("2012", {"VOCtrainval_11-May-2012.tar": ("train", "val"), "VOC2012test.tar": ("test",)}),
    ):
        for archive, splits in archives.items():
            root, files = f"VOCdevkit/VOC{year}", {}
            for number, split in enumerate(splits):
                stem = f"{year}_{split}"
                files[f"{root}/ImageSets/Main/{split}.txt"] = f"{stem}\n".encode()
                files[f"{root}/JPEGImages/{stem}.jpg"] = jpeg(50, 100, seed=number)
                if (year, split) != ("2012", "test"):
                    files[f"{root}/Annotations/{stem}.xml"] = annotation(objects)
                if year == "2012" and split != "test":
                    files[f"{root}/ImageSets/Segmentation/{split}.txt"] = f"{stem}\n".encode()
                    files[f"{root}/SegmentationClass/{stem}.png"] = voc_mask(number)
            if archive == "VOCtrainval_11-May-2012.tar":  # pictures that only SBD labels
                for stem in ("2008_sbd_a", "2008_sbd_b"):
                    files[f"{root}/JPEGImages/{stem}.jpg"] = jpeg(50, 100, seed=9)
            tar_of(files, path=folder / archive)


def voc_labels(number):
    """(50, 100) labels: background, one rectangle of class `number` + 1, a void row."""
    labels = np.zeros((50, 100), np.uint8)
    labels[10:30, 20:60] = number + 1
    labels[30] = 255
    return labels


def voc_mask(number):
    """Such labels as VOC stores them: a PNG with a palette."""
    image = Image.fromarray(voc_labels(number))
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_sbd(folder):
    """Two pictures of its own, and VOC's training and validation pictures, labelled otherwise."""
    files, root = {}, "benchmark_RELEASE/dataset"
    lists = {"train": ["2008_sbd_a", "2012_train"], "val": ["2008_sbd_b", "2012_val"]}
    for number, stem in enumerate([*lists["train"], *lists["val"]]):
        buffer = io.BytesIO()
        segmentation = {"Segmentation": voc_labels(number + 5), "Boundaries": np.zeros(1)}
        scipy.io.savemat(buffer, {"GTcls": segmentation}, do_compression=True)
        files[f"{root}/cls/{stem}.mat"] = buffer.getvalue()
    for name, stems in lists.items():
        files[f"{root}/{name}.txt"] = ("\n".join(stems) + "\n").encode()
    tar_of(files, "w:gz", folder / "benchmark.tgz")


def write_coco(folder):
    categories = [{"id": k, "name": name} for k, name in coco_json.CATEGORIES.items()]
    for year, tests in (("2014", ("test2014", "test2015")), ("2017", ("test2017",))):
        instances = {}
        for split in (f"train{year}", f"val{year}"):
            listed = [
                {"id": k, "file_name": f"{k:012d}.jpg", "height": 24, "width": 32} for k in (7, 9)
            ]
            objects = [
                {
                    "id": 1,
                    "image_id": 7,
                    "category_id": 3,
                    "bbox": [8, 6, 16, 12],
                    "area": 150.5,
                    "iscrowd": 0,
                    "segmentation": POLYGONS,
                },
                {
                    "id": 2,
                    "image_id": 7,
                    "category_id": 90,
                    "bbox": [0, 0, 32, 24],
                    "area": 700,
                    "iscrowd": 1,
                    "segmentation": CROWD,
                },
            ]
            document = {"images": listed, "annotations": objects, "categories": categories}
            instances[f"annotations/instances_{split}.json"] = json.dumps(document).encode()
            people = {"annotations": [{**objects[0], "keypoints": list(range(51))}]}
            instances[f"annotations/person_keypoints_{split}.json"] = json.dumps(people).encode()
            said = {"annotations": [{"image_id": 7, "caption": text} for text in CAPTIONS]}
            instances[f"annotations/captions_{split}.json"] = json.dumps(said).encode()
            zip_of(
                {f"{split}/{i['file_name']}": jpeg(seed=i["id"]) for i in listed},
                folder / f"{split}.zip",
            )
        zip_of(instances, folder / f"annotations_trainval{year}.zip")
        for split in tests:
            listed = [{"id": 5, "file_name": "000000000005.jpg", "height": 24, "width": 32}]
            document = json.dumps({"images": listed, "categories": categories}).encode()
            zip_of({f"{split}/000000000005.jpg": jpeg(seed=5)}, folder / f"{split}.zip")
            zip_of(
                {f"annotations/image_info_{split}.json": document},
                folder / f"image_info_{split}.zip",
            )


def _prepare_all(archives: Path, data_dir: Path) -> None:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.image_classification import mnist

    from vision_jax.data import prepare

    # First as a user who has other files under the official names: the real checksums refuse them.
    assert prepare.main(["cifar10", f"--data_dir={data_dir}", f"--manual_dir={archives}"]) == 2
    # What differs from a real run: the sizes and checksums are those of the tiny archives ...
    builders = {tfds.builder_cls(name.partition("/")[0]) for name in prepare.OFFICIAL}
    official = {builder: builder.url_infos or {} for builder in builders}  # read before any is set
    for builder, infos in official.items():
        builder.url_infos = {
            url: checksums.compute_url_info(archives / info.filename)
            for url, info in infos.items()
            if info.filename and (archives / info.filename).exists()
        }
    # ... and MNIST's builder has its number of images written in.
    mnist._TRAIN_EXAMPLES, mnist._TEST_EXAMPLES = 6, 3
    for name in prepare.OFFICIAL:
        print(prepare.prepare(name, data_dir, archives), flush=True)
    twin = tfds.builder("cifar10", data_dir=data_dir / "tfrecord")
    twin.download_and_prepare(
        download_dir=data_dir / "downloads",
        file_format="tfrecord",
        download_config=tfds.download.DownloadConfig(manual_dir=archives, try_download_gcs=False),
    )


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    _prepare_all(Path(sys.argv[1]), Path(sys.argv[2]))
