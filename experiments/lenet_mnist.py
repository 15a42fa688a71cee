"""LeNet-5 on MNIST: scaled tanh and trained subsampling, as published.

paper    LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998
cost     20 epochs of 60,000 images
run      python launch.py --config experiments/lenet_mnist.py
smoke    python launch.py --config experiments/lenet_mnist.py:smoke

`modern` as argument gives ReLU and max pooling. The paper trains with a diagonal second-order
method; here it is SGD with momentum.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import Confusion, Loss, TopK
from vision_jax.models.classifiers.lenet import LeNetBackbone, LeNetHead
from vision_jax.training import Experiment, optimizer, schedule

MEAN, STD = (0.1307,), (0.3081,)  # of the training pixels


def get_config(arg=""):
    given = arguments(arg, modern=False, smoke=False)
    act, pool = ("relu", "max") if given.modern else ("squash", "subsample")
    config = node(
        Experiment,
        task=node(
            tasks.Classification,
            model=node(
                models.Classifier,
                backbone=node(LeNetBackbone, act=act, pool=pool, padding=2),
                head=node(LeNetHead, num_classes=10, act=act),
            ),
            mean=MEAN,
            std=STD,
        ),
        train=node(data.Train, source=node(data.TFDS, name="mnist", split="train"), batch_size=128),
        eval=node(data.Eval, source=node(data.TFDS, name="mnist", split="test"), batch_size=1000),
        metrics={
            "top": node(TopK, ks=(1,)),
            "loss": node(Loss),
            "confusion": node(Confusion, num_classes=10),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd),
            schedule=node(schedule.Cosine, value=0.05),
            decay=1e-4,
        ),
        epochs=20.0,
    )
    return embedded.smoke(config, size=28, channels=1) if given.smoke else config
