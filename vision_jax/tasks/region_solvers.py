"""R-CNN's last two stages on stored features: classifiers, then regression of boxes."""

import dataclasses
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vision_jax.config import UserError, within
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Batch
from vision_jax.tasks.box_ridge import ridge_boxes
from vision_jax.tasks.linear_svm import HardNegatives, LinearSvm
from vision_jax.tasks.region_features import RegionStore
from vision_jax.tasks.solvers import layer_kernel, replaced
from vision_jax.tasks.task import Predictor, Variables

_PLAIN = (1.0, 1.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class TrainSvms:
    """A `Solver` that trains one linear SVM per class on stored features (Girshick 2014, 2.3).

    A class's positives are its objects' own boxes, and proposals that overlap one of them by
    `positive_iou` (the paper: none); its negatives overlap each of its objects by less than
    `negative_iou`, whatever else they show; regions in between are left out. Negatives
    are mined in one pass (`HardNegatives`). Features are scaled to a mean length, which the layer's
    weights then hold. A class without objects gets the weights 0 and the offset -1.

    Attributes:
      regions: the folder of `WriteRegionFeatures`, such as 'stage:features/regions'.
      svm: how the machines are trained.
      positive_iou: see above; where there are few objects, looser positives than 1 help.
      negative_iou: see above.
      limit, hard, easy: of `HardNegatives`.
      norm: mean length of the scaled features.
      layer: the linear layer that holds the machines.

    Raises:
      UserError: numbers out of range, no complete features, or a layer that does not fit them.
    """

    regions: str
    svm: LinearSvm = LinearSvm()
    positive_iou: float = 1.0
    negative_iou: float = 0.3
    limit: int = 2000
    hard: float = -1.0001
    easy: float = -1.2
    norm: float = 20.0
    layer: str = "head/svm"

    def __post_init__(self):
        within(self, "[0, 1]", "positive_iou", "negative_iou")
        within(self, "(0, inf)", "limit", "norm")

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Trains the machines; see `Solver.solve`. The batches are not read."""
        store = RegionStore.open(self.regions)
        width, classes = layer_kernel(variables, self.layer).shape
        if store.features.shape[-1] != width:
            raise UserError(
                f"regions={self.regions!r} have {store.features.shape[-1]} numbers each, but "
                f"{self.layer} reads {width}"
            )
        scale = scale_to_norm(_sampled_norms(store), self.norm)
        mined = self._mined(store, scale, classes)
        solution = np.zeros((width + 1, classes))
        solution[-1] = -1
        for label, mining in mined.items():
            if mining.weights is not None:
                solution[:-1, label] = mining.weights * scale
                solution[-1, label] = mining.offset
        counts = [len(mined[k].positives) if k in mined else 0 for k in range(classes)]
        print(f"SVMs of {classes} classes, of {min(counts)} to {max(counts)} positives each")
        return replaced(variables, self.layer, solution)

    def _mined(self, store: RegionStore, scale: float, classes: int) -> dict[int, HardNegatives]:
        """Goes through all images once; returns the machines of classes that have objects."""
        mined = {}
        for label, places in self._positives(store, classes).items():
            positives = store.features[places[:, 0], places[:, 1]] * np.float32(scale)
            limits = self.limit, self.hard, self.easy
            mined[label] = HardNegatives(self.svm, positives, *limits)
        seen = np.flatnonzero(np.asarray(store.valid).any(1))
        for number in seen:
            there = np.flatnonzero(store.valid[number])
            features = (store.features[number][there] * np.float32(scale)).astype(np.float64)
            iou = store.overlaps(int(number))[there]
            is_last = number == seen[-1]
            for label, mining in mined.items():
                of_class = np.where(store.labels[number] == label, iou, 0)
                negative = of_class.max(1, initial=0) < self.negative_iou
                # Objects of other classes are negatives too.
                mining.see(int(number), features, negative, last=bool(is_last))
        return mined

    def _positives(self, store: RegionStore, classes: int) -> dict[int, np.ndarray]:
        """Returns the places (n, 2) of the positives, by class, of those that have some."""
        objects = store.labels.shape[1]
        places: dict[int, list[tuple[int, int]]] = {label: [] for label in range(classes)}
        for number in np.flatnonzero(np.asarray(store.valid).any(1)).tolist():
            iou = store.overlaps(number)
            for slot, label in enumerate(store.labels[number]):
                if 0 <= label < classes and store.valid[number, slot]:
                    places[int(label)].append((number, slot))
            near = np.argwhere(iou[objects:] >= self.positive_iou) if self.positive_iou < 1 else ()
            for slot, of_object in near:
                if store.valid[number, objects + slot]:
                    places[int(store.labels[number, of_object])].append((number, objects + slot))
        return {label: np.unique(rows, axis=0) for label, rows in places.items() if rows}


@dataclasses.dataclass(frozen=True)
class RegressBoxes:
    """A `Solver` that finds each class's ridge regression of boxes (Girshick 2014, appendix C).

    It learns from proposals that overlap an object by more than `min_iou`, and belong to the class
    of that which they overlap most. A class without any keeps the boxes as they are.

    Attributes:
      regions: the folder of `WriteRegionFeatures`, whose `box_iou` is at most `min_iou`.
      penalty: the paper's λ.
      min_iou: see above.
      norm: mean length of the scaled features.
      layer: the linear layer that holds the regressions, four numbers per class.

    Raises:
      UserError: numbers out of range, no complete features, or a layer that does not fit them.
    """

    regions: str
    penalty: float = 1000.0
    min_iou: float = 0.6
    norm: float = 20.0
    layer: str = "head/bbox_pred"

    def __post_init__(self):
        within(self, "[0, 1)", "min_iou")
        within(self, "(0, inf)", "penalty", "norm")

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Solves the regressions; see `Solver.solve`. The batches are not read."""
        store = RegionStore.open(self.regions)
        width, columns = layer_kernel(variables, self.layer).shape
        if store.box_features.shape[-1] != width:
            raise UserError(
                f"regions={self.regions!r} have {store.box_features.shape[-1]} numbers each, but "
                f"{self.layer} reads {width}"
            )
        places, labels, targets = self._examples(store)
        solution = np.zeros((width + 1, columns // 4, 4))
        norms = np.array([np.linalg.norm(store.box_features[i, slot]) for i, slot in places])
        scale = scale_to_norm(norms, self.norm) if len(norms) else 1.0
        for label in np.unique(labels):
            chosen = labels == label
            x = store.box_features[places[chosen, 0], places[chosen, 1]] * scale
            kernel, bias = ridge_boxes(x, targets[chosen], self.penalty).layer
            solution[:-1, label], solution[-1, label] = kernel * scale, bias
        print(f"regression of boxes from {len(places)} proposals")
        return replaced(variables, self.layer, solution.reshape(width + 1, columns))

    def _examples(self, store: RegionStore) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns places (n, 2), classes (n,) and deltas (n, 4) of the proposals to learn from."""
        objects = store.labels.shape[1]
        places, labels, boxes, truth = [], [], [], []
        for number in range(len(store.labels)):
            iou = store.overlaps(int(number))
            near = store.valid[number] & (iou.max(1, initial=0) > self.min_iou)
            near[:objects] = False
            for slot in np.flatnonzero(near):
                best = int(iou[slot].argmax())
                places.append((number, slot))
                labels.append(store.labels[number, best])
                boxes.append(store.boxes[number, slot])
                truth.append(store.boxes[number, best])
        if not places:
            return np.zeros((0, 2), int), np.zeros(0, int), np.zeros((0, 4))
        pairs = jnp.asarray(np.stack(truth)), jnp.asarray(np.stack(boxes))
        targets = np.asarray(box_ops.encode(*pairs, _PLAIN))
        return np.array(places), np.array(labels), targets


def scale_to_norm(norms: Float[np.ndarray, "n"], norm: float = 20.0) -> float:
    """Returns the factor that gives features of these lengths a mean length (R-CNN's code: 20)."""
    mean = float(norms.astype(np.float64).mean())
    return norm / mean if mean > 0 else 1.0


def _sampled_norms(store: RegionStore, count: int = 200) -> np.ndarray:
    """Returns the lengths of features of at most `count` regions of as many images."""
    rng = np.random.default_rng(0)
    there = np.flatnonzero(np.asarray(store.valid).any(1))
    norms = []
    for number in rng.permutation(there)[:count]:
        slots = rng.permutation(np.flatnonzero(store.valid[number]))[:count]
        norms.append(np.linalg.norm(store.features[number][slots], axis=1))
    return np.concatenate(norms) if norms else np.ones(1)
