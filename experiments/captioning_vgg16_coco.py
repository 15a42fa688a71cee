"""Captions of COCO by an LSTM that sees VGG-16's fc7 features once, as its first input.

paper    Karpathy & Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions",
         2015, and its program NeuralTalk, with the LSTM of Vinyals et al., "Show and Tell", 2015
data     COCO 2014 in Karpathy's split, a file dataset_coco.json: 113,287 training images of train
         and restval, 5,000 for validation and 5,000 for testing, five captions or more each
needs    VGG-16 of ImageNet, which is fetched from torchvision, or --config.init.weights=FILE
expect   BLEU-1 to 4 of 62.5, 45.0, 32.1 and 23.0, CIDEr 0.660 (the paper, table 2; its METEOR,
         19.5, is not measured here)
cost     frozen: one pass of VGG-16 over 20 × 113,287 images of 224×224, and the decoder's training
run      python launch.py --config experiments/captioning_vgg16_coco.py:images=coco
         python launch.py --config experiments/captioning_vgg16_coco.py:images=coco,tune=True
smoke    python launch.py --config experiments/captioning_vgg16_coco.py:smoke

`split=dataset_flickr8k.json` or `dataset_flickr30k.json`, with the images' folder, trains on these.
`tune=True` goes on training the network of the images, at a tenth of the rate: Vinyals et al. do so
once the decoder is trained, which `--config.init.weights=RUN` begins with. Words that occur five
times in the training captions are in the vocabulary, which lies in the run folder as
vocabulary.json.
"""

from experiments.shared import captioning
from vision_jax import models
from vision_jax.config import CommaText, arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(
        arg, split=CommaText("dataset_coco.json"), images=CommaText("coco"), tune=False, smoke=False
    )
    model = node(
        models.ShowAndTell,
        backbone=node(models.VGG16, num_classes=0, dropout=0.0),
        feature="features",
    )
    config = captioning.on_photographs(model, given.split, given.images, given.tune)
    config.init.weights = "torchvision/vgg16-397923af"
    source = "Karpathy & Fei-Fei 2015, table 2"
    config.expect = node(Expect, metric="eval/cider_d", value=0.660, source=source)
    return captioning.smoke(config) if given.smoke else config
