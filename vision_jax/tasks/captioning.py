"""Captioning: a sentence for each image, written word by word."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vision_jax.config import printable, within
from vision_jax.ops.decoding import Sequences, beam_search, generate, sampled
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.descriptions import Answers
from vision_jax.tasks.streams import example_keys
from vision_jax.tasks.task import ImageTask, Variables
from vision_jax.words import END, PAD, START


@dataclasses.dataclass(frozen=True)
class Captioning(ImageTask):
    """A captioner, how it is trained on given captions, and how it writes its own.

    Batches need `targets.tokens`, see `data.EncodeCaption`; their classes are the vocabulary's
    words, the special ones first, see `data.WithVocabulary`.

    Attributes:
      model: a captioner, such as `models.ShowAndTell`: `(images, tokens) → dict` with `logits`
        (b, t - 1, k), and with methods that write one token at a time.
      beams: sequences that are followed when a caption is written (Vinyals et al. 2015, section
        3.1; 20 there, 3 in their paper of 2016); 1 takes the likeliest word each time.
      length: tokens of a written caption at most, start and end included.
      power: captions compete by log-probability / length ** power; 0 prefers short ones.
      attention_weight: factor of Xu et al. 2015, eq. 14: over all words, each place of the map
        should get an attention of 1; 0 is off.
      mean, std, augment: see `ImageTask`. Flips change what 'left' means.

    Raises:
      UserError: a number out of its range.
    """

    beams: int = 3
    length: int = 20
    power: float = 0.0
    attention_weight: float = 0.0

    def __post_init__(self):
        within(self, "[1, inf)", "beams")
        within(self, "[3, inf)", "length")
        within(self, "[0, inf)", "power", "attention_weight")

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the outputs that pictures are made from."""
        return ("tokens", "attention") if self.model.attends else ("tokens",)

    def inputs(self, batch: Batch) -> tuple:
        """Returns arguments of the network for one image that is shaped like the batch's."""
        return (*super().inputs(batch), jnp.zeros((1, 2), jnp.int32))

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'word', the cross-entropy of a token, and 'attention', if it is on.

        Metric: `top1`, the share of tokens that are the likeliest. See `Task.loss`.
        """
        tokens = _tokens(batch)
        outputs, _, updates = self.forward(variables, batch, key, train, tokens)
        loss, counted = _token_losses(outputs["logits"], tokens, batch)
        count = counted.sum(dtype=jnp.float32)
        terms: Terms = {"word": (loss.sum(), count)}
        if self.attention_weight:
            seen = jnp.where(counted[..., None], outputs["attention"], 0).sum(1)
            missing = jnp.square(1 - seen).sum(-1)
            total = self.attention_weight * jnp.where(batch.valid, missing, 0).sum()
            terms["attention"] = total, batch.valid.sum(dtype=jnp.float32)
        right = counted & (jnp.argmax(outputs["logits"], -1) == tokens[:, 1:])
        metrics = {"top1": (right.sum(dtype=jnp.float32), count)}
        return terms, {"collections": updates, "metrics": metrics}

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Writes captions.

        Returns:
          `tokens` (b, length): start, words, end, padding; `score` (b,), see `power`; a captioner
          that looks at places has `attention` (b, length - 1, h, w) of each token after the first.
          Where the batch has captions, `token_loss` (b,) is the sum of their tokens' losses, and
          `token_count` (b,) how many these are.
        """
        state, (height, width) = self._begin(variables, batch)
        best = jax.tree.map(lambda x: x[:, 0], self._search(variables, state, batch.count))
        outputs = {"tokens": best.tokens, "score": best.scores}
        if self.model.attends:
            told = self.model.apply(variables, state, best.tokens, method="teach")
            attention = told["attention"]
            outputs["attention"] = attention.reshape(*attention.shape[:2], height, width)
        if batch.targets.tokens is not None:
            told = self.model.apply(variables, state, _tokens(batch), method="teach")
            loss, counted = _token_losses(told["logits"], _tokens(batch), batch)
            outputs["token_loss"], outputs["token_count"] = loss.sum(1), counted.sum(1)
        return outputs

    def search(self, variables: Variables, batch: Batch) -> Sequences:
        """Finds the `beams` best captions of each image; see `ops.decoding.beam_search`."""
        return self._search(variables, self._begin(variables, batch)[0], batch.count)

    def sample(
        self,
        variables: Variables,
        batch: Batch,
        key: Key[Array, ""],
        temperature: float | Array = 1.0,
    ) -> tuple[Int[Array, "b t"], Float[Array, "b"]]:
        """Draws one caption for each image.

        Args:
          variables, batch: as of `predict`.
          key: all draws derive from it and from the examples' indices.
          temperature: see `ops.decoding.sampled`.

        Returns:
          The tokens after the start, (b, length - 1), and their log-probability without it.
        """
        state, _ = self._begin(variables, batch)
        choose = sampled(example_keys(key, batch), temperature)
        starts = jnp.full(batch.count, START, jnp.int32)
        step = self._step(variables)
        return generate(step, state, starts, self.length - 1, END, PAD, choose)

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's caption; see `Task.describe`. No word has a score of its own."""
        rows = np.asarray(outputs["tokens"])
        captions = [" ".join(words_of(row, classes)) for row in rows]
        return [{"text": printable(caption), "caption": caption} for caption in captions]

    def _begin(self, variables: Variables, batch: Batch) -> tuple[Any, tuple[int, int]]:
        """Returns the captioner's state before the start, and the height and width of its map."""
        features = self.model.apply(variables, self.normalize(batch.pixels), method="find")
        size = features.shape[1:3] if features.ndim == 4 else (1, 1)
        return self.model.apply(variables, features, method="begin"), size

    def _search(self, variables: Variables, state: Any, count: int) -> Sequences:
        starts = jnp.full(count, START, jnp.int32)
        step = self._step(variables)
        return beam_search(step, state, starts, self.length, END, self.beams, self.power, PAD)

    def _step(self, variables: Variables) -> Any:
        return lambda state, tokens: self.model.apply(variables, state, tokens, method="step")


def words_of(tokens: Any, classes: tuple[str, ...]) -> list[str]:
    """Returns the words of tokens (t,) up to the first end; start and padding are left out.

    Args:
      tokens: of one caption.
      classes: the vocabulary's words, the special ones first; numbers stand in for missing ones.
    """
    words = []
    for token in np.asarray(tokens).tolist():
        if token == END:
            break
        if token not in (PAD, START):
            words.append(classes[token] if token < len(classes) else str(token))
    return words


def _tokens(batch: Batch) -> Int[Array, "b t"]:
    tokens = batch.targets.tokens
    if tokens is None:
        raise ValueError("captioning needs batches with targets.tokens; see data.EncodeCaption")
    return tokens


def _token_losses(
    logits: Float[Array, "b s k"], tokens: Int[Array, "b t"], batch: Batch
) -> tuple[Float[Array, "b s"], Array]:
    """Returns the cross-entropy of each token after the first, 0 on padding, and which count."""
    targets = tokens[:, 1:]
    counted = (targets != PAD) & batch.valid[:, None]
    log_probs = jax.nn.log_softmax(at_least_float32(logits))
    chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return jnp.where(counted, -chosen, 0), counted
