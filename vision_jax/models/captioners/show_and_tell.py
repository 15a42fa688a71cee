"""Show and Tell: A Neural Image Caption Generator (Vinyals et al. 2014, arXiv:1411.4555).

Karpathy & Fei-Fei 2015 (arXiv:1412.2306, section 3.2) have the same form with another network and
another cell. Here the image is the decoder's first input, whose output nobody reads, or its initial
state.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vision_jax.models.captioners.captioner import CELLS, Captioner, State, Words, pooled
from vision_jax.models.layers import HEAD_LAYER, Dense, Dropout, Keys


class ShowAndTell(Captioner):
    """A captioner that sees the image once, before the first word; see `Captioner`.

    Submodules: `project` (from the features), `words`, `decoder`, `linear` (to the tokens).

    Fields:
      image: 'input', a vector like a word's at the step before the start's; or 'state', the
        decoder's first output, tanh of a linear layer.
    """

    image: Literal["input", "state"] = "input"

    def setup(self):
        wide = self.embed if self.image == "input" else self.hidden
        self.project = Dense(wide, layers=self.layers)
        self.words = Words(self.num_classes, self.embed)
        self.decoder = CELLS[self.cell](self.hidden)
        self.linear = Dense(self.num_classes, layers=self.layers)
        self.drop_words = Dropout(self.dropout, layer=HEAD_LAYER)
        self.drop_output = Dropout(self.dropout, layer=HEAD_LAYER + 1)

    def begin(self, features: Float[Array, "b ..."]) -> State:
        """Reads the image; see `Captioner.begin`."""
        seen = self.project(pooled(features))
        if self.image == "state":
            return {"memory": self.decoder.begin(jnp.tanh(seen))}
        nothing = self.decoder.begin(jnp.zeros((seen.shape[0], self.hidden), seen.dtype))
        return {"memory": self.decoder(nothing, seen)}

    def first(self, features: Float[Array, "b ..."]) -> Float[Array, "b k"]:
        """Returns logits of the token at the image's own step, which some train to be the start."""
        return self.linear(self.begin(features)["memory"][0])

    def step(self, state: State, tokens: Int[Array, "b"]) -> tuple[State, Float[Array, "b k"]]:
        """Reads one token; see `Captioner.step`."""
        memory = self.decoder(state["memory"], self.words(tokens))
        return {"memory": memory}, self.linear(memory[0])

    def teach(
        self, state: State, tokens: Int[Array, "b t"], *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Reads whole captions; see `Captioner.__call__`."""
        words = self.drop_words(self.words(tokens[:, :-1]), train=train, keys=keys)
        outputs = self.decoder.outputs(state["memory"], words)
        outputs = self.drop_output(outputs, train=train, keys=keys)
        return {"logits": self.linear(outputs)}
