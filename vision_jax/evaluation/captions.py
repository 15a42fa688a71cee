"""The metric of captions: what a network writes about images, beside what people wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.evaluation.caption_scores import bleu, cider_d, rouge_l
from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.structs import Batch
from vision_jax.words import tokenize

MEASURES = ("bleu", "rouge_l", "cider_d")


@runtime_checkable
class Decoder(Protocol):
    """The part of a vocabulary that turns tokens into words, such as `data.Vocabulary`."""

    def decode(self, tokens: Any) -> list[str]:
        """Returns the words that tokens (t,) int stand for, without those for start and end."""
        ...


def caption_scores(
    candidates: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    measures: tuple[str, ...] = MEASURES,
) -> Results:
    """Computes measures of captions that are split into words; see `evaluation.caption_scores`.

    Args:
      candidates: one for each image.
      references: one or more for each image.
      measures: some of 'bleu', 'rouge_l', 'cider_d'.

    Returns:
      `bleu_1` … `bleu_4`, `rouge_l`, `cider_d`, and each one's `per_image_…` (n,).
    """
    scores = {}
    if "bleu" in measures:
        for n, score in enumerate(bleu(candidates, references), start=1):
            scores[f"bleu_{n}"] = score
    if "rouge_l" in measures:
        scores["rouge_l"] = rouge_l(candidates, references)
    if "cider_d" in measures:
        scores["cider_d"] = cider_d(candidates, references)
    results: Results = {name: score.total for name, score in scores.items()}
    return results | {f"per_image_{name}": score.per_image for name, score in scores.items()}


@dataclass(frozen=True)
class Captions(GatheredMetric):
    """BLEU-1 … BLEU-4, ROUGE-L and CIDEr-D of generated captions (Chen et al. 2015).

    Results: `bleu_1` … `bleu_4`, `rouge_l`, `cider_d`, and per image `per_image_…`, in the order of
    the images' numbers. Images without references are left out. METEOR is not available: its
    program needs Java and its own tables of synonyms.

    Attributes:
      vocabulary: turns the output `tokens` (b, t) int32 into words; see `Decoder`.
      references: the captions of each image, by its number in the source; texts, which are split
        by `words.tokenize`.
      tokens: name of the output.
      measures: some of 'bleu', 'rouge_l', 'cider_d'.

    Raises:
      UserError: a measure that is unknown, or is not available; an image beyond the references.
    """

    vocabulary: Decoder
    references: Sequence[Sequence[str]]
    tokens: str = "tokens"
    measures: tuple[str, ...] = MEASURES

    def __post_init__(self):
        for name in self.measures:
            if name.lower() in ("meteor", "spice"):
                raise UserError(
                    f"Captions: measure {name!r} is not available, since it needs a Java program; "
                    f"there are {', '.join(MEASURES)}"
                )
            if name not in MEASURES:
                raise UserError(f"Captions: unknown measure {name!r}{suggest(name, MEASURES)}")

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.tokens,)

    def names(self) -> tuple[str, ...]:
        named = {"bleu": tuple(f"bleu_{n}" for n in range(1, 5))}
        return tuple(n for name in self.measures for n in named.get(name, (name,)))

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        valid = np.asarray(batch.valid)
        rows = zip(batch.id[valid], outputs[self.tokens][valid], strict=True)
        return [*state, *((int(image), np.asarray(tokens)) for image, tokens in rows)]

    def result(self, state: list) -> Results:
        candidates, references = [], []
        for image, tokens in sorted(state, key=lambda row: row[0]):
            if image >= len(self.references):
                raise UserError(
                    f"Captions: references are those of {len(self.references)} images, but there "
                    f"is an image {image}; give the references of the source that is evaluated"
                )
            if not self.references[image]:
                continue
            candidates.append(self.vocabulary.decode(tokens))
            references.append([tokenize(text) for text in self.references[image]])
        return caption_scores(candidates, references, self.measures) if candidates else {}
