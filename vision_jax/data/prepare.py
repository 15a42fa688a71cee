"""Prepares data sets as array_record, which training reads without TensorFlow:

    python -m vision_jax.data.prepare NAME [--data_dir D] [--manual_dir M]
    python -m vision_jax.data.prepare --list

The embedded data sets need nothing; those of this project need the official archives in the manual
folder, and no TensorFlow. TFDS's own need TensorFlow (requirements-prepare.txt) and the archives:
those that lie in the manual folder are used, others are downloaded.
"""

import argparse
import contextlib
import fcntl
import importlib
import importlib.util
import io
import os
import shutil
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vision_jax.config import CommandLine, UserError, suggest
from vision_jax.system import disk, output

# TFDS's own data sets, and the archives that each is made of.
OFFICIAL = {
    "imagenet2012": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
    "cifar10": ("cifar-10-binary.tar.gz",),
    "cifar100": ("cifar-100-binary.tar.gz",),
    "mnist": (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ),
    "voc/2007": ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"),
    "voc/2012": ("VOCtrainval_11-May-2012.tar", "VOC2012test.tar"),
    "coco/2014": (
        "train2014.zip",
        "val2014.zip",
        "annotations_trainval2014.zip",
        "test2014.zip",
        "image_info_test2014.zip",
        "test2015.zip",
        "image_info_test2015.zip",
    ),
    "coco/2017": (
        "train2017.zip",
        "val2017.zip",
        "annotations_trainval2017.zip",
        "test2017.zip",
        "image_info_test2017.zip",
    ),
}
# Behind a login: nothing can download them.
_MANUAL_ONLY = ("imagenet2012",)
_VOC_2012 = "VOCtrainval_11-May-2012.tar"
# The project's own builders, and the archives that each reads. (voc_objects/2012 also has a test
# split, without objects, where VOC2012test.tar is there.)
OWN = {
    "voc_objects/2007": ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"),
    "voc_objects/2012": (_VOC_2012,),
    "voc_segmentation/2012": (_VOC_2012,),
    "voc_segmentation/2012_aug": (_VOC_2012, "benchmark.tgz"),
    "coco_objects/2014": ("train2014.zip", "val2014.zip", "annotations_trainval2014.zip"),
    "coco_objects/2017": ("train2017.zip", "val2017.zip", "annotations_trainval2017.zip"),
}
_BUILDERS = {
    "shapes": "shapes.Shapes",
    "voc_objects": "voc_builders.VocObjects",
    "voc_segmentation": "voc_builders.VocSegmentation",
    "coco_objects": "coco_builder.CocoObjects",
}


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> str:
    """Makes a data set ready to be read; does nothing where it is ready already.

    Several processes may prepare the same data set at once: one works, the others wait for it.

    Args:
      name: one of `names()`, such as 'shapes/cls32' or 'imagenet2012'.
      data_dir: the folder of data sets; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      manual_dir: the folder of archives fetched by hand; default data_dir/downloads/manual.

    Returns:
      The version folder, for `tfds.builder_from_directory`.

    Raises:
      UserError: an unknown name, TensorFlow or archives missing, a damaged archive, or a folder
        that holds the data set in another format.
    """
    if name not in names():
        raise UserError(f"unknown data set {name!r}{suggest(name, names())}")
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    root = root.expanduser().absolute()
    manual = Path(manual_dir).expanduser() if manual_dir else root / "downloads" / "manual"
    with _lock(root, name):
        if name in OFFICIAL:
            return _prepare_official(name, root, manual)
        return _prepare_own(name, root, manual)


def names() -> list[str]:
    """Returns every name that `prepare` takes."""
    from vision_jax.data.shapes import CONFIGS  # imports TFDS

    return [*(f"shapes/{config.name}" for config in CONFIGS), *OWN, *OFFICIAL]


@contextlib.contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Holds a data set's lock file; the system frees it when the process ends, however it ends."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = os.open(root / f".{name.replace('/', '-')}.lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise UserError(f"data_dir {root} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _prepare_own(name: str, root: Path, manual: Path) -> str:
    """Prepares a data set that one of the project's builders makes; returns its folder."""
    import tensorflow_datasets as tfds

    family, _, config = name.partition("/")
    module, _, kind = _BUILDERS[family].partition(".")
    builders = vars(importlib.import_module(f"vision_jax.data.{module}"))
    builder = builders[kind](config=config, data_dir=root)
    if builder.data_path.exists():
        return _version_folder(builder)
    archives = OWN.get(name, ())
    missing = [file for file in archives if not (manual / file).is_file()]
    if missing:
        raise UserError(f"{name}: put {' and '.join(missing)} into {manual}")
    # Left by a process that was killed; nobody else is at it while we hold the lock.
    for stale in builder.data_path.parent.glob("incomplete.*"):
        shutil.rmtree(stale)
    if archives:
        try:
            _run(builder, root, manual)
        except UserError:
            raise
        except Exception as error:  # whatever a damaged archive raises
            raise UserError(_explain(name, error, [], manual)) from error
        return _version_folder(builder)
    # Seconds of work: TFDS's banners and bars would say more than it does.
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            _run(builder, root, manual=None)
    finally:
        tfds.enable_progress_bar()
    return _version_folder(builder)


def _prepare_official(name: str, root: Path, manual: Path) -> str:
    """Prepares one of TFDS's own data sets; returns its folder."""
    missing = [file for file in OFFICIAL[name] if not (manual / file).is_file()]
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"preparing {name} needs TensorFlow: pip install -r requirements-prepare.txt"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=root)
    if not builder.data_path.exists():
        if missing and name in _MANUAL_ONLY:
            raise UserError(f"{name}: put {' and '.join(missing)} into {manual}")
        _check_reachable(name, builder, root, missing, manual)
        # Another program may be at work there, without our lock: name it, leave it.
        for stale in builder.data_path.parent.glob("incomplete.*"):
            print(f"{stale} is unfinished; remove it if nothing writes it", file=sys.stderr)
        try:
            _run(builder, root, manual)
        except UserError:
            raise
        except Exception as error:
            raise UserError(_explain(name, error, missing, manual)) from error
    return _version_folder(builder)


def _check_reachable(name: str, builder: Any, root: Path, missing: list[str], manual: Path) -> None:
    """Raises UserError at once where a host is unknown; TFDS would retry for minutes."""
    from tensorflow_datasets.core.download import resource

    for url, info in (builder.url_infos or {}).items():
        cached = root / "downloads" / resource.get_dl_fname(url, info.checksum)
        if info.filename not in missing or cached.exists():
            continue
        host = urllib.parse.urlsplit(url).hostname or ""
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            reason = ConnectionError(f"{host} is not reachable")
            raise UserError(_explain(name, reason, missing, manual)) from error


def _run(builder: Any, root: Path, manual: Path | None) -> None:
    """Lets a TFDS builder write array_record; raises UserError where the disk takes no more."""
    import tensorflow_datasets as tfds

    with disk.used(root):
        builder.download_and_prepare(
            download_dir=root / "downloads",
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False),
        )


def _version_folder(builder: Any) -> str:
    """Returns the builder's folder; raises UserError where it is not in array_record format."""
    # Only a fresh look at the folder tells the format of what was there before.
    import tensorflow_datasets as tfds

    folder = os.fspath(builder.data_path)
    file_format = tfds.builder_from_directory(folder).info.file_format
    if file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"{folder} holds {file_format.value}, not array_record; move it away, then: "
            f"python -m vision_jax.data.convert MOVED {folder}"
        )
    return folder


def _explain(name: str, error: Exception, missing: list[str], manual: Path) -> str:
    """Says in one line why a data set cannot be prepared, and what to do."""
    from tensorflow_datasets.core.download import download_manager

    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, download_manager.NonMatchingChecksumError):
        return f"{name}: {first.rstrip(':')}; fetch the official archive again"
    if missing:
        return f"{name}: cannot be downloaded ({first}); put {', '.join(missing)} into {manual}"
    return f"{name}: {type(error).__name__}: {first}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = CommandLine(
        prog="python -m vision_jax.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the data set")
    parser.add_argument("--list", action="store_true", help="the names, and what each needs")
    parser.add_argument("--data_dir", help="default: $TFDS_DATA_DIR, else ~/tensorflow_datasets")
    parser.add_argument("--manual_dir", help="archives; default: DATA_DIR/downloads/manual")
    try:
        chosen = parser.parse_args(arguments)
        if chosen.list:
            print("\n".join(_descriptions()))
        elif chosen.name is None:
            raise UserError("name a data set, such as shapes/cls32; --list shows them")
        else:
            print(f"{chosen.name}: {prepare(chosen.name, chosen.data_dir, chosen.manual_dir)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


def _descriptions() -> Iterator[str]:
    """Yields a line for each data set: its name, and what preparing it needs."""
    from vision_jax.data.shapes import CONFIGS

    for config in CONFIGS:
        yield f"{'shapes/' + config.name:25} embedded: {config.description}"
    for name, archives in OWN.items():
        yield f"{name:25} put into manual_dir: {', '.join(archives)}"
    for name, archives in OFFICIAL.items():
        how = (
            "put into manual_dir" if name in _MANUAL_ONLY else "downloads, or takes from manual_dir"
        )
        yield f"{name:25} TensorFlow; {how}: {', '.join(archives)}"


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main())
