"""Captioning: a sentence for each image, written word by word."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vision_jax.config import within
from vision_jax.ops.decoding import Sequences, beam_search, generate, sampled
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.descriptions import Answers, describe_captions
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
      temperature: above 0 captions are drawn, word by word from softmax(logits / temperature),
        instead of searched for; 0 is off.
      draw: number of the draw; another one draws other captions.
      attention_weight: factor of Xu et al. 2015, eq. 14: over all words, each place of the map
        should get an attention of 1; 0 is off.
      mean, std, augment: see `ImageTask`. Flips change what 'left' means.

    Raises:
      UserError: a number out of its range.
    """

    beams: int = 3
    length: int = 20
    power: float = 0.0
    temperature: float = 0.0
    draw: int = 0
    attention_weight: float = 0.0

    def __post_init__(self):
        within(self, "[1, inf)", "beams")
        within(self, "[3, inf)", "length")
        within(self, "[0, inf)", "power", "temperature", "attention_weight")
        within(self, "[0, 4294967296)", "draw")

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the outputs that pictures are made from."""
        return ("tokens", "score", *(("attention",) if self.model.attends else ()))

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
          `tokens` (b, length): start, words, end, padding; `score` (b,), see `power`, or the
          log-probability of captions that are drawn; a captioner that looks at places has
          `attention` (b, length - 1, h, w) of each token after the first. Where the batch has
          captions, `token_loss` (b,) is the sum of their tokens' losses, and `token_count` (b,) how
          many these are.
        """
        state, (height, width) = self._begin(variables, batch)
        tokens, score = self._written(variables, state, batch)
        outputs = {"tokens": tokens, "score": score}
        if self.model.attends:
            told = self.model.apply(variables, state, tokens, method="teach")
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
        return self._drawn(variables, state, batch, key, temperature)

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's caption; see `Task.describe`. No word has a score of its own."""
        return describe_captions(outputs["tokens"], outputs["score"], classes)

    def _begin(self, variables: Variables, batch: Batch) -> tuple[Any, tuple[int, int]]:
        """Returns the captioner's state before the start, and the height and width of its map."""
        features = self.model.apply(variables, self.normalize(batch.pixels), method="find")
        size = features.shape[1:3] if features.ndim == 4 else (1, 1)
        return self.model.apply(variables, features, method="begin"), size

    def _search(self, variables: Variables, state: Any, count: int) -> Sequences:
        starts = jnp.full(count, START, jnp.int32)
        step = self._step(variables)
        return beam_search(step, state, starts, self.length, END, self.beams, self.power, PAD)

    def _drawn(
        self, variables: Variables, state: Any, batch: Batch, key: Array, temperature: float | Array
    ) -> tuple[Int[Array, "b t"], Float[Array, "b"]]:
        choose = sampled(example_keys(key, batch), temperature)
        starts = jnp.full(batch.count, START, jnp.int32)
        step = self._step(variables)
        return generate(step, state, starts, self.length - 1, END, PAD, choose)

    def _written(
        self, variables: Variables, state: Any, batch: Batch
    ) -> tuple[Int[Array, "b t"], Float[Array, "b"]]:
        """Returns a caption of each image, searched for or drawn, and its score."""
        if not self.temperature:
            best = jax.tree.map(lambda x: x[:, 0], self._search(variables, state, batch.count))
            return best.tokens, best.scores
        key = jax.random.key(self.draw)
        words, score = self._drawn(variables, state, batch, key, self.temperature)
        return jnp.pad(words, ((0, 0), (1, 0)), constant_values=START), score

    def _step(self, variables: Variables) -> Any:
        return lambda state, tokens: self.model.apply(variables, state, tokens, method="step")


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
