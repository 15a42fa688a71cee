"""Pictures with what a captioner writes about them, what people wrote, and where it looks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax import visualize
from vision_jax.data.decode import RecordError
from vision_jax.data.sources import Source
from vision_jax.report.gallery import DrawnGallery
from vision_jax.report.gallery_semantic import on_squares
from vision_jax.report.originals import UNREADABLE, Originals
from vision_jax.structs import Batch
from vision_jax.tasks.descriptions import words_of
from vision_jax.words import tokenize

SIDE = 224  # pixels of a picture
_LOOKED_AT = 4  # images whose words are shown with their attention
_TOLD = 3  # captions of people


class CaptionGallery(DrawnGallery):
    """A choice of images with their captions.

    The first half are those of whose caption the network is least certain: its score by the number
    of tokens is the lowest.
    """

    def __init__(self, names: Sequence[str] = (), source: Source | None = None):
        """
        Args:
          names: the words of the vocabulary.
          source: that of the evaluation, which knows all captions; None shows the batch's.
        """
        super().__init__(names=names, originals=Originals(source))
        self._source = source

    def add(self, outputs: Mapping[str, Any], batch: Batch) -> None:
        """Looks at a batch: `tokens`, `score` and `attention` of `tasks.Captioning`, in NumPy."""
        tokens, scores = np.asarray(outputs["tokens"]), np.asarray(outputs["score"])
        count = np.maximum((tokens != 0).sum(1), 1)
        for row in np.flatnonzero(batch.valid).tolist():
            self._kept.offer(
                int(batch.id[row]),
                float(scores[row] / count[row]),
                lambda row=row: self._drawn(outputs, batch, row),
            )

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures and texts: for `save_arrays(folder, "captions", …)`."""
        pictures = [picture for picture, *_ in self._kept.result()]
        found, truth = ([item[place] for item in self._kept.result()] for place in (1, 2))
        return {
            "image": on_squares(pictures),
            "found": np.array(found, dtype=np.str_),
            "truth": np.array(["\n".join(texts) for texts in truth], dtype=np.str_),
        }

    def looks(self) -> dict[str, np.ndarray]:
        """Returns pictures of each word's attention: for `save_arrays(folder, "looks", …)`.

        They come in rows of `COLUMNS`; there are none of a captioner that sees the image once.
        """
        looked = [item[3] for item in self._kept.result() if item[3]]
        even = [*looked[::2], *looked[1::2]][:_LOOKED_AT]
        pictures = [picture for drawn, _ in even for picture in drawn]
        texts = [text for _, own in even for text in own]
        return {"image": on_squares(pictures), "caption": np.array(texts, dtype=np.str_)}

    def _drawn(self, outputs: Mapping[str, Any], batch: Batch, row: int) -> tuple:
        """Makes the picture, the caption, people's captions, and the attention's pictures."""
        words = words_of(outputs["tokens"][row], self._names)
        image, _ = self._originals.seen(batch, row)
        looks = None
        if "attention" in outputs and words:
            fed = np.asarray(batch.image[row])
            looks = visualize.attended_words(fed, words, np.asarray(outputs["attention"][row]))
        return visualize.fit(image, SIDE), " ".join(words), self._told(batch, row), looks

    def _told(self, batch: Batch, row: int) -> list[str]:
        """Returns captions of people: all of the source's, or else the one of the batch."""
        try:
            if self._source is not None and (own := self._source[int(batch.id[row])]["captions"]):
                return [" ".join(tokenize(text)) for text in own[:_TOLD]]
        except (*UNREADABLE, RecordError, KeyError):
            pass
        tokens = batch.targets.tokens
        return [] if tokens is None else [" ".join(words_of(tokens[row], self._names))]
