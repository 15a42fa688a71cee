"""What every experiment shares to run in seconds on embedded data: its smoke form."""

from ml_collections import ConfigDict

from vision_jax import data
from vision_jax.config import node


def smoke(config: ConfigDict, size: int, channels: int = 3) -> ConfigDict:
    """The same experiment on a few embedded images: real path, tiny size, four steps.

    Args:
      config: changed in place.
      size: side of the images that the network sees.
      channels: 3, or 1 for the networks that read gray digits.
    """
    for part, split in (("train", "train[:64]"), ("eval", "validation[:24]")):
        if channels == 1:
            source = node(data.Digits, split=split, size=size)
        else:
            source = node(data.TFDS, name="shapes/cls32", split=split)
        transforms = () if size in (32,) or channels == 1 else (node(data.Resize, size=size),)
        pipeline = config[part]
        pipeline.source = source
        pipeline.transforms = transforms
        pipeline.batch_size = 16
    config.steps, config.epochs = 4, 0.0
    config.eval_every, config.checkpoint_every, config.log_every = 2, 2, 1
    config.expect = None
    return config
