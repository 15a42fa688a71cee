"""Show, Attend and Tell (Xu et al. 2015, arXiv:1502.03044), with soft attention."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.captioners.captioner import CELLS, Captioner, State, Words, places
from vision_jax.models.layers import HEAD_LAYER, Dense, Dropout, Keys
from vision_jax.models.layers.recurrent import Memory
from vision_jax.ops.dtypes import at_least_float32


class ShowAttendTell(Captioner):
    """A captioner that looks at other places of the image for each word; see `Captioner`.

    The state begins with `first`, tanh of a linear layer of the mean place. At each step every
    place a is scored by w · tanh(W a + U h) (`place`, `state`, `score`), the softmax over the
    places, alpha, weighs them, and a gate beta = sigmoid(`gate` h) scales their sum z (section
    4.2.1), which `decoder` reads beside the word before. A word is predicted from the word before,
    h and z (eq. 7): `linear` of tanh(E y + `from_state` h + `from_place` z), the tanh being the
    authors' program's.

    Fields:
      look: width of the attention's hidden layer.
    """

    look: int = 512

    attends: ClassVar[bool] = True

    def setup(self):
        layers = {"layers": self.layers}
        self.first = Dense(self.hidden, **layers)
        self.words = Words(self.num_classes, self.embed)
        self.place = Dense(self.look, **layers)
        self.state = Dense(self.look, use_bias=False, **layers)
        self.score = Dense(1, use_bias=False, **layers)
        self.gate = Dense(1, **layers)
        self.decoder = CELLS[self.cell](self.hidden)
        self.from_state, self.from_place = Dense(self.embed, **layers), Dense(self.embed, **layers)
        self.linear = Dense(self.num_classes, **layers)
        self.drop_words = Dropout(self.dropout, layer=HEAD_LAYER)
        self.drop_output = Dropout(self.dropout, layer=HEAD_LAYER + 1)

    def begin(self, features: Float[Array, "b ..."]) -> State:
        """Looks at the whole image; see `Captioner.begin`."""
        seen = places(features)
        h = jnp.tanh(self.first(seen.mean(1)))
        # Scores need each place's projection at every step; it is the same at all of them.
        return {"memory": self.decoder.begin(h), "places": seen, "projected": self.place(seen)}

    def step(self, state: State, tokens: Int[Array, "b"]) -> tuple[State, Float[Array, "b k"]]:
        """Reads one token; see `Captioner.step`."""
        word = self.words(tokens)
        memory, (h, z, _) = self._look(state["memory"], word, state)
        return {**state, "memory": memory}, self._logits(word, h, z)

    def teach(
        self, state: State, tokens: Int[Array, "b t"], *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Reads whole captions; see `Captioner.__call__`.

        Beside `logits` there is `attention` (b, t - 1, l), where each prediction looked: it sums to
        1 over the places, row after row of the map.
        """
        words = self.drop_words(self.words(tokens[:, :-1]), train=train, keys=keys)
        scan = nn.scan(
            ShowAttendTell._look,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(1, nn.broadcast),
            out_axes=1,
        )
        _, (h, z, attention) = scan(self, state["memory"], words, state)
        return {"logits": self._logits(words, h, z, train, keys), "attention": attention}

    def _look(
        self, memory: Memory, word: Float[Array, "b e"], state: State
    ) -> tuple[Memory, tuple[Array, Array, Array]]:
        """Makes one step; returns the memory, and the output, what was seen, and where."""
        h = memory[0]
        hidden = jnp.tanh(state["projected"] + self.state(h)[:, None])
        alpha = jax.nn.softmax(at_least_float32(self.score(hidden)[..., 0]))
        places = state["places"]
        z = jnp.einsum("bl,blc->bc", alpha.astype(places.dtype), places)
        z = jax.nn.sigmoid(self.gate(h)) * z
        memory = self.decoder(memory, jnp.concatenate([word, z], axis=-1))
        return memory, (memory[0], z, alpha)

    def _logits(
        self, word: Array, h: Array, z: Array, train: bool = False, keys: Keys = None
    ) -> Float[Array, "*b k"]:
        mixed = jnp.tanh(word + self.from_state(h) + self.from_place(z))
        return self.linear(self.drop_output(mixed, train=train, keys=keys))
