"""DeepID2: identification and verification signals together, on small aligned faces.

paper    Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014
data     the folders of facenet_vggface2.py; the paper's CelebFaces+ (202,599 images of 10,177
         people) is not distributed
expect   99.15 % on LFW in the paper, of seven ensembles of 25 crops each with Joint Bayesian; here
         one network on one crop is compared by distance, which has no published number
cost     100,000 steps of 96 images; 8 M multiply-adds forward each
run      python launch.py --config experiments/deepid2_vggface2.py
         python launch.py --config experiments/deepid2_vggface2.py:weight=0.0
smoke    python launch.py --config experiments/deepid2_vggface2.py:smoke

`weight` is the paper's λ of the verification loss: 0 is identification alone; its figure 4 has the
best features at 0.05, and worse ones both at 0 and without identification. The paper moves the
margin by hand; here it is a setting, --config.task.verification_margin.
"""

from experiments import facenet_vggface2, quickstart_faces
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.training import optimizer

HEIGHT, WIDTH = 55, 47


def get_config(arg=""):
    given = arguments(arg, weight=0.05, smoke=False)
    config = facenet_vggface2.get_config()
    config.task.model = node(models.DeepID, num_classes=facenet_vggface2.IDENTITIES)
    config.task.verification_weight = given.weight
    config.train.transforms = config.eval.transforms = (facenet_vggface2.resized(HEIGHT, WIDTH),)
    config.train.batch_size, config.train.per_class = 96, 4
    config.optimizer.rule = node(optimizer.Sgd)
    config.optimizer.schedule.update(value=0.01, boundaries=(60_000, 80_000))
    config.steps, config.expect = 100_000, None
    if given.smoke:
        facenet_vggface2.drawn(config, 64)
        config.task.model.num_classes = quickstart_faces.FEW["identities"]
        config.train.transforms = config.eval.transforms = (
            facenet_vggface2.resized(HEIGHT, WIDTH),
        )
    return config
