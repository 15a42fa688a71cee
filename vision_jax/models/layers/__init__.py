"""Layers that several papers share."""

from vision_jax.models.layers.activation import PReLU
from vision_jax.models.layers.arrays import (
    Endpoints,
    Images,
    Keys,
    channelwise,
    compute_dtype,
    last_map,
)
from vision_jax.models.layers.attention import (
    LayerNorm,
    LearnedGrid,
    LearnedPositions,
    MultiHeadAttention,
    TransformerSettings,
    causal,
    with_positions,
)
from vision_jax.models.layers.dropout import HEAD_LAYER, Dropout, StochasticDepth
from vision_jax.models.layers.headed import Headed
from vision_jax.models.layers.linear import Border, Conv, ConvNorm, ConvTranspose, Dense, Same
from vision_jax.models.layers.norm import (
    DEVICE_AXIS,
    FOLDED,
    BatchNorm,
    GroupNorm,
    norm,
    shards,
)
from vision_jax.models.layers.patches import Patches
from vision_jax.models.layers.residual import residual_add, residual_relu
from vision_jax.models.layers.settings import NO_NORM, Layers, layers_of, norms
from vision_jax.models.layers.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    LayerCache,
)
from vision_jax.models.layers.variants import variant
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.ops.initializers import (
    Initializer,
    he_fan_in,
    he_fan_out,
    small_normal,
    torch_linear,
)

__all__ = [
    "DEVICE_AXIS",
    "FOLDED",
    "HEAD_LAYER",
    "NO_NORM",
    "BatchNorm",
    "Border",
    "Conv",
    "ConvNorm",
    "ConvTranspose",
    "Decoder",
    "DecoderLayer",
    "Dense",
    "Dropout",
    "Encoder",
    "EncoderLayer",
    "Endpoints",
    "FeedForward",
    "GroupNorm",
    "Headed",
    "Images",
    "Initializer",
    "Keys",
    "LayerCache",
    "LayerNorm",
    "Layers",
    "LearnedGrid",
    "LearnedPositions",
    "MultiHeadAttention",
    "PReLU",
    "Patches",
    "Same",
    "StochasticDepth",
    "TransformerSettings",
    "at_least_float32",
    "causal",
    "channelwise",
    "compute_dtype",
    "he_fan_in",
    "he_fan_out",
    "last_map",
    "layers_of",
    "norm",
    "norms",
    "residual_add",
    "residual_relu",
    "shards",
    "small_normal",
    "torch_linear",
    "variant",
    "with_positions",
]
