"""Keys of configs: paths such as 'train.transforms[0].size', and the nearest one to a mistake."""

import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config.errors import UserError

# Words that other programs have for settings, and where experiments have these.
_OTHER_WORDS = {
    "lr lr0 base_lr learning_rate max_lr": r"optimizer\.schedule(\.then)*\.value",
    "wd l2 weight_decay": r"optimizer\.decay",
    "bs batch batch_size batchsize": r"train\.batch_size",
    "epoch max_epochs num_epochs n_epochs": r"epochs",
    "iters iterations max_iter max_steps num_steps": r"steps",
    "num_workers": r"train\.workers",
    "amp fp16 bf16 precision": r"dtype",
    "weights pretrained checkpoint ckpt resume": r"init\.weights",
    "imgsz image_size img_size crop_size size": r"train\.transforms\[\d+\]\.size",
    "nc classes num_classes": r"task\.model\.(.*\.)?num_classes",
    "grad_clip clip_grad clip_norm max_norm": r"optimizer\.clip",
    "label_smoothing": r"task\.smoothing",
}


def split(path: str) -> list[str | int]:
    """Splits 'a.b[0].c' into its keys and the numbers of its items."""
    keys: list[str | int] = []
    for part in path.split("."):
        name, *items = part.replace("]", "").split("[")
        keys.append(name)
        keys += [int(i) if i.isdigit() else i for i in items]
    return keys


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every setting of a config as (path, value), paths as `override` takes them."""
    if isinstance(tree, ConfigDict):
        for key in tree:
            yield from leaves(tree[key], f"{prefix}.{key}" if prefix else key)
    elif isinstance(tree, (tuple, list)) and any(isinstance(item, ConfigDict) for item in tree):
        for number, item in enumerate(tree):
            yield from leaves(item, f"{prefix}[{number}]")
    else:
        yield prefix, tree


def nearest(tree: ConfigDict, path: str) -> str | None:
    """Finds the existing setting that somebody meant who wrote a path that does not exist.

    In this order: another program's word for a setting; the same last key elsewhere, in the path
    that is most alike; the path that is right but for some letters of its keys; a last key that is
    right but for some letters, anywhere.

    Args:
      tree: the config.
      path: as `override` takes it, without such a setting.

    Returns:
      The path of a setting or of a group of them; None where nothing is near.
    """
    known = [known for known, _ in leaves(tree) if last(known) != "target"]
    word = last(path)
    for words, pattern in _OTHER_WORDS.items():
        found = [p for p in known if re.fullmatch(pattern, p)] if word in words.split() else []
        if found:
            return found[0]
    same = [p for p in known if last(p) == word]
    if same:
        return max(same, key=lambda p: difflib.SequenceMatcher(None, p, path).ratio())
    return _key_by_key(tree, path) or _with_a_close_last_key(known, path)


def overrides(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Takes the overrides `--config.a.b=value` out of a command line.

    Returns:
      {path: text}, and the other arguments.

    Raises:
      UserError: an override without a value.
    """
    given, others = {}, []
    for argument in argv:
        if argument.startswith("--config."):
            path, equals, value = argument.removeprefix("--config.").partition("=")
            if not equals:
                raise UserError(f"{argument!r} has no value - write --config.{path}=VALUE")
            given[path] = value
        else:
            others.append(argument)
    return given, others


def last(path: str) -> str:
    """Returns the last key of a path."""
    return path.rpartition(".")[2]


def _key_by_key(tree: ConfigDict, path: str) -> str | None:
    """Follows a path, and takes the closest key where one does not exist."""
    here: Any = tree
    found = ""
    for key in split(path):
        if isinstance(key, int) and isinstance(here, tuple | list) and key < len(here):
            here, found = here[key], f"{found}[{key}]"
            continue
        if not isinstance(here, ConfigDict):
            return None
        close = [str(key)] if key in here else _close(str(key), here)
        if not close:
            return None
        here, found = here[close[0]], f"{found}.{close[0]}" if found else close[0]
    return found


def _with_a_close_last_key(known: list[str], path: str) -> str | None:
    close = _close(last(path), {last(p) for p in known})
    candidates = [p for p in known if close and last(p) == close[0]]
    return max(
        candidates, key=lambda p: difflib.SequenceMatcher(None, p, path).ratio(), default=None
    )


def _close(word: str, words: typing.Iterable[str]) -> list[str]:
    return difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
