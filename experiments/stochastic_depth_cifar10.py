"""ResNet-110 on CIFAR-10 with stochastic depth: residual blocks are skipped at random in training.

paper    Huang et al., "Deep Networks with Stochastic Depth", 2016, section 4
expect   test error 5.25 % with the linear rule, 6.41 % without skipping
cost     500 epochs of 50,000 images; 0.25 G multiply-adds forward per image
run      python launch.py --config experiments/stochastic_depth_cifar10.py
         python launch.py --config experiments/stochastic_depth_cifar10.py:rule=uniform
smoke    python launch.py --config experiments/stochastic_depth_cifar10.py:smoke

Arguments: `rule`, `linear` (block l of L is kept with probability 1 - l / L (1 - p)), `uniform`
(each with p) or `none`; `p`, by default 0.5. The paper skips a block for a whole batch, here each
image draws its own, so nothing is saved in time. It holds 5,000 images out; here all 50,000 train.
"""

from experiments import resnet_cifar10
from vision_jax.config import UserError, arguments, node
from vision_jax.training import Expect, optimizer, schedule

TEST_ERROR = {"linear": 5.25, "none": 6.41}  # percent, at p = 0.5


def get_config(arg=""):
    given = arguments(arg, rule="linear", p=0.5, smoke=False)
    if given.rule not in ("linear", "uniform", "none") or not 0 < given.p <= 1:
        raise UserError(
            f"rule={given.rule},p={given.p}: rules are linear, uniform and none; p is in 0..1"
        )
    config = resnet_cifar10.get_config("depth=14,smoke" if given.smoke else "depth=110")
    if given.rule != "none":
        config.task.model.backbone.drop_path = 1 - given.p
        config.task.model.backbone.drop_rule = given.rule
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.Sgd, momentum=0.9, nesterov=True),
        schedule=node(schedule.Step, value=0.1, boundaries=(0.5, 0.75), unit="fraction"),
        decay=1e-4,
    )
    config.expect = None
    if given.smoke:
        return config
    config.steps, config.epochs = 0, 500.0
    if given.p == 0.5 and given.rule in TEST_ERROR:
        value = round(1 - TEST_ERROR[given.rule] / 100, 4)
        config.expect = node(
            Expect, metric="eval/top1", value=value, source="Huang et al. 2016, CIFAR-10"
        )
    return config
