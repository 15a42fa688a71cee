"""vision_jax: the CNN vision curriculum as pure JAX functions."""

__version__ = "0.1.0"
