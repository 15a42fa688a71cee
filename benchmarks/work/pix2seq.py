"""Writing Pix2Seq's 500 tokens: with cached keys and values, and reading all again for each token.

The second reads the whole sequence in every step, as a program of static shapes without a cache
has to.
"""

from typing import Any

import numpy as np

from benchmarks.work import Work

PLACES = 100  # of the memory


def cached(shared: object, tokens: int, features: int, layers: int) -> Work:
    """Writes as `models.Pix2Seq` does."""
    import jax

    model, variables, memory, start = _made(tokens, features, layers)
    run = jax.jit(
        lambda variables, memory: model.apply(variables, start, memory, tokens, method="write")
    )
    return _timed(run, variables, memory, tokens)


def uncached(shared: object, tokens: int, features: int, layers: int) -> Work:
    """Reads all tokens so far again for each one."""
    import jax
    import jax.numpy as jnp

    model, variables, memory, start = _made(tokens, features, layers)

    def write(variables: Any, memory: Any) -> Any:
        def one(seen: Any, index: Any) -> Any:
            logits = model.apply(variables, seen, memory, method="read")[:, index]
            token = jnp.argmax(logits, -1).astype(jnp.int32)
            return seen.at[:, index + 1].set(token, mode="drop"), (token, logits)

        seen = jnp.zeros((1, tokens), jnp.int32).at[:, 0].set(start)
        _, (written, logits) = jax.lax.scan(one, seen, jnp.arange(tokens))
        return written.T, logits.swapaxes(0, 1)

    return _timed(jax.jit(write), variables, memory, tokens)


def _made(tokens: int, features: int, layers: int) -> tuple:
    """Makes a network that writes greedily, seeded weights, and a memory."""
    import jax
    import jax.numpy as jnp

    from vision_jax import models

    settings = models.TransformerSettings(
        features=features,
        heads=8,
        hidden=4 * features,
        dropout=0.0,
        attention_dropout=0.0,
        norm_first=True,
        activation="gelu",
    )
    model = models.Pix2Seq(
        models.Patches(features, 16),
        endpoint="patches",
        project=False,
        encoder=models.Encoder(1, settings),
        decoder=models.Decoder(layers, settings),
        max_detections=tokens // 5,
        max_length=tokens,
        vocabulary=2000,
        top_k=1,
    )
    images, sizes = jnp.zeros((1, 32, 32, 3)), jnp.full((1, 2), 32.0)
    variables = jax.jit(model.init)(jax.random.key(0), images, sizes)
    memory = np.random.default_rng(0).normal(0, 1, (1, PLACES, features)).astype(np.float32)
    return model, variables, jax.device_put(memory), jnp.full(1, 10, jnp.int32)


def _timed(run: Any, variables: Any, memory: Any, tokens: int) -> Work:
    import jax

    written, logits = run(variables, memory)

    def once() -> None:
        jax.block_until_ready(run(variables, memory))

    return Work(once, tokens, {"logits": np.asarray(logits), "tokens": np.asarray(written)}, {})
