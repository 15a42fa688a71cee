"""Clustering by embeddings: do images of one identity gather (Schroff et al. 2015, figure 7)?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vision_jax.config import within
from vision_jax.evaluation.gathered_rows import rows_of, with_batch
from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.structs import Batch


@dataclass(frozen=True)
class Clustering(GatheredMetric):
    """The agreement of agglomerative clusters with the identities.

    The images are joined by average linkage, as FaceNet's are, into as many clusters as there are
    identities. Result: `clustering_nmi`, the mutual information over the mean entropy, and
    `clustering_ari`, the Rand index adjusted for chance; 1 is perfect, and chance has an `ari` of
    0.

    Attributes:
      labels: (first, end) of the identities that count; () is all.
      most: images that are clustered at most, evenly over the data set; the memory grows with
        their square.
    """

    labels: tuple[int, ...] = ()
    most: int = 2000

    outputs: ClassVar[tuple[str, ...] | None] = ("embedding",)

    def __post_init__(self):
        within(self, "[2, inf)", "most")

    def names(self) -> tuple[str, ...]:
        return ("clustering_nmi", "clustering_ari")

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        return with_batch(state, outputs["embedding"], batch)

    def result(self, state: list) -> Results:
        from sklearn.cluster import AgglomerativeClustering
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        if not state:
            return {}
        embedding, labels, _ = rows_of(state, self.labels)
        if len(labels) > self.most:
            even = np.linspace(0, len(labels) - 1, self.most).astype(int)
            embedding, labels = embedding[even], labels[even]
        count = len(np.unique(labels))
        if count < 2 or count == len(labels):
            return {}
        found = AgglomerativeClustering(count, linkage="average").fit_predict(embedding)
        return {
            "clustering_nmi": float(normalized_mutual_info_score(labels, found)),
            "clustering_ari": float(adjusted_rand_score(labels, found)),
        }
