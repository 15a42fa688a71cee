"""Captions of COCO by an LSTM with soft attention over the last map of a ResNet-50.

paper    Xu et al., "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
         2015, which looks at the 14×14 places of VGG's conv5; here they are the 7×7 of conv5_x
data     COCO 2014 in Karpathy's split, a file dataset_coco.json: 113,287 training images of train
         and restval, 5,000 for validation and 5,000 for testing, five captions or more each
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or --config.init.weights=FILE
expect   the paper's soft attention on VGG: BLEU-1 to 4 of 70.7, 49.2, 34.4 and 24.3 (table 1)
cost     frozen: one pass of ResNet-50 over 20 × 113,287 images of 224×224, and the decoder's
         training
run      python launch.py --config experiments/captioning_resnet50_attention_coco.py:images=coco
smoke    python launch.py --config experiments/captioning_resnet50_attention_coco.py:smoke

`split`, `images` and `tune` are those of captioning_vgg16_coco.py; `size=448` gives 14×14 places.
`attend=False` sees the mean of the places once, as Show and Tell does, for comparison. The second
term of the loss asks that all places be looked at about once (eq. 14, weight 1).
"""

from experiments.shared import captioning
from vision_jax import models
from vision_jax.config import CommaText, arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(
        arg,
        split=CommaText("dataset_coco.json"),
        images=CommaText("coco"),
        size=224,
        attend=True,
        tune=False,
        smoke=False,
    )
    network = models.ShowAttendTell if given.attend else models.ShowAndTell
    model = node(network, backbone=node(models.ResNet, stages=(3, 4, 6, 3)))
    config = captioning.on_photographs(model, given.split, given.images, given.tune, given.size)
    config.task.attention_weight = 1.0 if given.attend else 0.0
    config.init.weights = "torchvision/resnet50-0676ba61"
    config.expect = node(
        Expect, metric="eval/bleu_4", value=0.243, source="Xu et al. 2015, table 1, soft, on VGG"
    )
    return captioning.smoke(config) if given.smoke else config
