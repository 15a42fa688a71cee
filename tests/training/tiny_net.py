"""The smallest network that has everything a training run must handle, and an experiment on it."""

from flax import linen as nn

from vision_jax import data, models, tasks
from vision_jax.config import node
from vision_jax.evaluation import TopK
from vision_jax.models.layers import ConvNorm, Dropout, Layers
from vision_jax.training import Constant, Experiment, Optimizer, Sgd


class TinyBackbone(nn.Module):
    """One convolution with batch normalisation, and dropout; endpoint conv1."""

    width: int = 4
    dropout: float = 0.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images, *, train=False, keys=None):
        x = ConvNorm(self.width, 3, 2, 1, layers=self.layers, name="conv1")(images, train=train)
        return {"conv1": Dropout(self.dropout)(x, train=train, keys=keys)}

    @property
    def strides(self):
        return {"conv1": 2}


def network(**backbone):
    return models.Classifier(TinyBackbone(**backbone), models.PoolHead(10))


def experiment(train="train[:96]", **changes):
    """On digits of 8x8 pixels; two steps of 32 images."""
    classifier = node(
        models.Classifier, backbone=node(TinyBackbone), head=node(models.PoolHead, num_classes=10)
    )
    parts = {
        "task": node(tasks.Classification, model=classifier, mean=(0.5,), std=(0.25,)),
        "train": node(data.Train, source=node(data.Digits, split=train), batch_size=32),
        "eval": node(data.Eval, source=node(data.Digits, split="validation[:40]"), batch_size=32),
        "metrics": {"top": node(TopK, ks=(1,))},
        "optimizer": node(Optimizer, rule=node(Sgd), schedule=node(Constant, value=0.01)),
        "steps": 2,
        "log_every": 1,
    }
    return node(Experiment, **{**parts, **changes})
