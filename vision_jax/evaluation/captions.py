"""Metrics of captions: what a network writes about images, beside what people wrote."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.evaluation.caption_scores import bleu, cider_d, rouge_l
from vision_jax.evaluation.metric import GatheredMetric, Results, SummedMetric
from vision_jax.structs import Array, Batch
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

    Two controls say what a score is worth: `cider_d_frequent`, of the most frequent reference as
    every image's caption, and `cider_d_shuffled`, of each caption beside another image, half the
    set further on.

    Attributes:
      vocabulary: turns the output `tokens` (b, t) int32 into words; see `Decoder`. None is that of
        the run's training data.
      references: the captions of each image, by its number in the source; texts, which are split
        by `words.tokenize`. None is those of the run's evaluation data.
      tokens: name of the output.
      measures: some of 'bleu', 'rouge_l', 'cider_d'.
      controls: whether to measure the controls, with 'cider_d'.

    Raises:
      UserError: a measure that is unknown, or is not available; an image beyond the references; on
        use, no vocabulary or no references.
    """

    vocabulary: Decoder | None = None
    references: Sequence[Sequence[str]] | None = None
    tokens: str = "tokens"
    measures: tuple[str, ...] = MEASURES
    controls: bool = True

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
        controls = ("cider_d_frequent", "cider_d_shuffled") if self.controls else ()
        named = {
            "bleu": tuple(f"bleu_{n}" for n in range(1, 5)),
            "rouge_l": ("rouge_l",),
            "cider_d": ("cider_d", *controls),
        }
        return tuple(name for measure in self.measures for name in named[measure])

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        valid = np.asarray(batch.valid)
        rows = zip(batch.id[valid], outputs[self.tokens][valid], strict=True)
        return [*state, *((int(image), np.asarray(tokens)) for image, tokens in rows)]

    def result(self, state: list) -> Results:
        if self.vocabulary is None or self.references is None:
            raise UserError(
                "Captions: there is no vocabulary; the training data's source is to be a "
                "data.WithVocabulary, or give vocabulary and references"
            )
        candidates, references = [], []
        for image, tokens in sorted(state, key=lambda row: row[0]):
            if image >= len(self.references):
                raise UserError(
                    f"Captions: references are those of {len(self.references)} images, but there "
                    f"is an image {image}; give the references of the source that is evaluated"
                )
            if own := self._split(image):
                candidates.append(self.vocabulary.decode(tokens))
                references.append(own)
        if not candidates:
            return {}
        results = caption_scores(candidates, references, self.measures)
        if self.controls and "cider_d" in self.measures:
            results["cider_d_frequent"] = self._of_the_most_frequent(references)
            if (half := len(candidates) // 2) > 0:
                shuffled = candidates[half:] + candidates[:half]
                results["cider_d_shuffled"] = cider_d(shuffled, references).total
        return results

    @cached_property
    def _words(self) -> dict[int, list[list[str]]]:
        """The references of each image as words, as far as they have been asked for."""
        return {}

    def _split(self, image: int) -> list[list[str]]:
        """Returns the references of an image, split once for all evaluations."""
        if image not in self._words:
            self._words[image] = [tokenize(text) for text in (self.references or ())[image]]
        return self._words[image]

    @staticmethod
    def _of_the_most_frequent(references: list[list[list[str]]]) -> float:
        """Measures the most frequent reference, of equals the first by the alphabet."""
        counts = Counter(tuple(words) for own in references for words in own)
        most = min(counts, key=lambda words: (-counts[words], words))
        return cider_d([most] * len(references), references).total


@dataclass(frozen=True)
class Perplexity(SummedMetric):
    """The perplexity of given captions: e to the mean loss of a token, the end's included.

    It reads the outputs `token_loss` (b,), in nats, and `token_count` (b,) of `tasks.Captioning`,
    which are there where batches have captions: one for each image, see `data.EncodeCaption`.
    """

    def names(self) -> tuple[str, ...]:
        return ("perplexity",)

    def empty(self) -> dict[str, np.float64 | np.int64]:
        return {"loss": np.float64(0), "count": np.int64(0)}

    def update(self, outputs: dict, batch: Batch) -> dict[str, Array]:
        if "token_loss" not in outputs:
            raise UserError(
                "Perplexity: no output 'token_loss'; are there captions in the evaluation data, "
                "and data.EncodeCaption among its transforms?"
            )
        loss = jnp.where(batch.valid, outputs["token_loss"], 0).sum(dtype=jnp.float32)
        count = jnp.where(batch.valid, outputs["token_count"], 0).sum(dtype=jnp.int32)
        return {"loss": loss, "count": count}

    def result(self, state: dict) -> Results:
        count = int(state["count"])
        with np.errstate(over="ignore"):
            return {"perplexity": float(np.exp(state["loss"] / count))} if count else {}
