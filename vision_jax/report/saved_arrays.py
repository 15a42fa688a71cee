"""The arrays of a run folder that the page draws, checked for what it needs."""

import pathlib
import re

import numpy as np

from vision_jax.config import UserError
from vision_jax.report.folder import load_arrays

_NUMBER, _TEXT, _PIXEL = "iuf", "U", "u"
_PICTURES = (_PIXEL, "n h w color")
# By file and name: kinds of NumPy's types, and sizes, where a letter is one size throughout a file,
# '_' any, and '*' a name of any array. A '?' marks arrays that may be missing.
_FORMS: dict[str, dict[str, tuple[str, str]]] = {
    "confusion": {"matrix": (_NUMBER, "c c"), "classes?": (_TEXT, "c")},
    "per_class": {"classes": (_TEXT, "c"), "*": (_NUMBER, "c")},
    "precision_recall": {"precision": ("f", "c recalls"), "classes": (_TEXT, "c")},
    "predictions": {
        "image": _PICTURES,
        "label": ("iu", "n"),
        "predicted": ("iu", "n"),
        "confidence": ("f", "n"),
        "classes": (_TEXT, "_"),
    },
    "detections": {"truth": _PICTURES, "found": _PICTURES, "caption": (_TEXT, "n")},
    "segmentations": {
        "image": _PICTURES,
        "truth": _PICTURES,
        "found": _PICTURES,
        "caption": (_TEXT, "n"),
        "legend_colors?": (_NUMBER, "labels 3"),
        "legend_names?": (_TEXT, "labels"),
    },
    "attention": {
        "object": _PICTURES,
        "decoder": _PICTURES,
        "encoder": _PICTURES,
        "caption": (_TEXT, "n"),
    },
    "captions": {"image": _PICTURES, "found": (_TEXT, "n"), "truth": (_TEXT, "n")},
    "looks": {"image": _PICTURES, "caption": (_TEXT, "n")},
    "sequences": {"found": _PICTURES, "caption": (_TEXT, "n")},
    "slots": {"boxes": ("f", "n q 4")},
    "images": {
        "image": _PICTURES,
        "bicubic?": _PICTURES,
        "truth?": _PICTURES,
        "found": _PICTURES,
        "caption": (_TEXT, "n"),
    },
    "neighbours": {
        "image": _PICTURES,
        "label": ("iu", "n"),
        "distance": ("f", "n"),
        "columns": ("iu", ""),
        "searched": ("iu", ""),
        "classes": (_TEXT, "_"),
    },
    "map": {"points": ("f", "m 2"), "label": ("iu", "m"), "classes": (_TEXT, "_")},
    "made": {"image": (_PIXEL, "h w color")},
    "curves": {"*": (_NUMBER, "2 _")},
    "data": {
        "parts": (_TEXT, "p"),
        "images": ("iu", "p"),
        "counted": ("iu", "p"),
        "counts": ("iu", "p c"),
        "classes": (_TEXT, "c"),
        "unit": (_TEXT, ""),
        "image": _PICTURES,
        "caption": (_TEXT, "n"),
    },
}
_MAY_BE_EMPTY = ("n", "labels", "_")
_CURVE = re.compile(r"curve/[^/]+/[^/]+/[^/]+")


def checked_arrays(folder: pathlib.Path, name: str) -> dict[str, np.ndarray] | None:
    """Reads the arrays that `save_arrays` saved; None if there are none of that name.

    Raises:
      UserError: the file is damaged, or its arrays are none that the page can draw.
    """
    arrays = load_arrays(folder, name)
    if arrays is None:
        return None
    problem = _problem(arrays, _FORMS[name])
    if problem is None and name == "curves":
        problem = next((f"{n!r} is no curve" for n in arrays if not _CURVE.fullmatch(n)), None)
    if problem is not None:
        path = pathlib.Path(folder) / "arrays" / f"{name}.npz"
        raise UserError(f"{path} is damaged ({problem}); delete it and evaluate again")
    return arrays


def _problem(arrays: dict[str, np.ndarray], forms: dict[str, tuple[str, str]]) -> str | None:
    """Says what does not fit; None if all does."""
    sizes: dict[str, int] = {}
    plain = {form.rstrip("?"): value for form, value in forms.items() if form != "*"}
    missing = [form for form in forms if form not in (*arrays, "*") and not form.endswith("?")]
    if missing:
        return f"no {missing[0]!r}"
    for name, array in arrays.items():
        form = plain.get(name, forms.get("*"))
        if form is None:
            continue
        kinds, letters = form[0], form[1].split()
        if not isinstance(array, np.ndarray):  # a member that is no array comes as its bytes
            return f"{name!r} is no array"
        if array.dtype.kind not in kinds or array.ndim != len(letters):
            return f"{name!r} is {array.dtype} of shape {array.shape}"
        for letter, size in zip(letters, array.shape, strict=True):
            wanted = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
            fits = letter == "_" or size == wanted
            if letter == "color":
                fits = size in (1, 3)
            if not fits or (size == 0 and letter not in _MAY_BE_EMPTY):
                return f"{name!r} is of shape {array.shape}"
    return None
