"""The lectures' pictures of training: augmented images, mixed images, smoothed labels.

They are made of scikit-learn's photographs by the parts that experiments name.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax import data
from vision_jax.ops import image as image_ops
from vision_jax.report.figures_networks import Table
from vision_jax.tasks import augment
from vision_jax.tasks.classification import smooth
from vision_jax.visualize import panel

_SIDE = 160  # pixels
DRAWS = 3  # of each augmentation
_STILL = {"translate": 0.0, "rotate": 0.0, "stretch": 0.0, "shear": 0.0}
AUGMENTATIONS = {
    "mirrored": augment.Flip(),
    "cropped": augment.PadCrop(pad=24),
    "other light and contrast": augment.ColorJitter(),
    "colours, by PCA": augment.Lighting(std=1.0),
    "moved": augment.Affine(**_STILL | {"translate": 0.2}),
    "turned": augment.Affine(**_STILL | {"rotate": 25.0}),
    "stretched": augment.Affine(**_STILL | {"stretch": 0.4}),
    "sheared": augment.Affine(**_STILL | {"shear": 0.3}),
    "through a lens": augment.LensDistortion(strength=0.3),
    "erased": augment.Erasing(probability=1.0),
}
NAMES = ("bittern", "otter", "analog clock", "dog", "church")


def augmentations() -> np.ndarray:
    """Draws each augmentation of an image a few times, beside the image."""
    image = _photograph("china")
    # The image stands alone in its row of twice so many draws.
    images, captions = [image], ["the image"]
    images += [np.full_like(image, 255)] * (2 * DRAWS - 1)
    captions += [""] * (2 * DRAWS - 1)
    keys = jax.random.split(jax.random.key(1), DRAWS)
    for name, part in AUGMENTATIONS.items():
        drawn = part(jnp.tile(image, (DRAWS, 1, 1, 1)), keys)
        images += list(np.clip(drawn, 0, 255))
        captions += [name, *[""] * (DRAWS - 1)]
    shown = [picture.astype(np.uint8) for picture in images]
    return panel(shown, captions, columns=2 * DRAWS, side=_SIDE)


def mixup() -> np.ndarray:
    """Draws two images, and what mixup makes of them and of their labels."""
    pair = jnp.stack([_photograph(name) for name in ("china", "flower")])
    mixed, share = image_ops.mixup(pair, jax.random.split(jax.random.key(1), 2))
    captions = ["church 1", "flower 1"]
    for own, other, weight in (("church", "flower", share[0]), ("flower", "church", share[1])):
        captions.append(f"{own} {float(weight):.2f}, {other} {1 - float(weight):.2f}")
    images = [np.asarray(x).astype(np.uint8) for x in (*pair, *mixed)]
    return panel(images, captions, columns=4, side=2 * _SIDE)


def label_smoothing(epsilon: float = 0.1) -> Table:
    """Smooths one label of a few classes in both forms that are in use."""
    one_hot = jnp.eye(len(NAMES))[2:3]
    forms = {"as it is": one_hot}
    forms["ε/n to every class"] = smooth(one_hot, epsilon)
    forms["ε/(n - 1) to every other class"] = smooth(one_hot, epsilon, "others")
    rows = [(name, *(f"{float(x):.3g}" for x in label[0])) for name, label in forms.items()]
    note = f"ε = {epsilon:g}; the lecture has the last form, Inception v3's paper the one before."
    return Table("Label smoothing", ("form", *NAMES), tuple(rows), note)


def _photograph(name: str) -> np.ndarray:
    """Reads one of scikit-learn's photographs, float32 (h, w, 3) in 0..255."""
    return data.Picture(f"sklearn:{name}.jpg", side=_SIDE).read()


PICTURES: dict[str, Callable[[], np.ndarray]] = {  # by the name of the file
    "augmentations": augmentations,
    "mixup": mixup,
}
TABLES: dict[str, Callable[[], Table]] = {"label_smoothing": label_smoothing}
