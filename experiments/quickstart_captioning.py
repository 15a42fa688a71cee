"""Minutes on a laptop: a small network that says what it sees on the embedded shapes.

data     one shape on clutter, 32×32, each image with two captions: "a large red star", and "one
         shape on a striped green background"; made from a seed on first use
paper    Show, Attend and Tell (Xu et al., 2015) with soft attention, on a small ResNet that is
         trained with it
expect   CIDEr-D of at least 2.5 on held-out images, of 5 or so where each caption is one of two;
         measured: 3.15, beside `cider_d_frequent` of 0.60, the most frequent caption's, and
         `cider_d_shuffled` of 0.34, that of other images' captions
cost     1:44 on two CPU cores that were shared with much other work, compilation included
run      python launch.py --config experiments/quickstart_captioning.py
         python launch.py --config experiments/quickstart_captioning.py:attend=False
smoke    python launch.py --config experiments/quickstart_captioning.py:smoke

Of an image's two captions the first is trained with, so that what is written names the shape; its
colour is mostly right, and its class is the hardest word. `attend=False` is Show and Tell, which
sees the image once.
"""

from experiments.shared import captioning
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, attend=True, smoke=False)
    config = captioning.on_shapes(captioning.shapes_network(given.attend))
    if not given.attend:
        config.expect = None
    return captioning.smoke(config) if given.smoke else config
