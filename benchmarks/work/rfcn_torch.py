"""R-FCN on ResNet-50 out of torchvision's Faster R-CNN and its position-sensitive RoIAlign."""

import torch
from torch import nn

from benchmarks.work.rfcn import BINS, PROPOSALS, SIZES, WIDTH


class ScoreMaps(nn.Module):
    """conv5_x and the maps, and how regions are pooled from them: the votes' mean."""

    def __init__(self, body: nn.Module, labels: int):
        super().__init__()
        self.body = body
        self.reduce = nn.Conv2d(2048, WIDTH, 1)
        self.cls_score = nn.Conv2d(WIDTH, labels * BINS**2, 1)
        self.bbox_pred = nn.Conv2d(WIDTH, 4 * BINS**2, 1)

    def forward(
        self, features: dict[str, torch.Tensor], proposals: list[torch.Tensor], shapes: object
    ) -> torch.Tensor:
        from torchvision.ops import ps_roi_align

        x = torch.relu(self.reduce(self.body(features["0"])))
        maps = torch.cat([self.cls_score(x), self.bbox_pred(x)], 1)
        return ps_roi_align(maps, proposals, BINS, 1 / 16).mean((2, 3))


class Split(nn.Module):
    """Scores, and the box that all classes share, as often as torchvision's heads want it."""

    def __init__(self, labels: int):
        super().__init__()
        self.labels = labels

    def forward(self, votes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, box = votes.split([self.labels, 4], 1)
        return scores, box.repeat(1, self.labels)


def network(resnet: nn.Module, labels: int, size: dict[str, int]) -> nn.Module:
    """Puts R-FCN together.

    Args:
      resnet: torchvision's, whose layer4 does not stride.
      labels: background included.
      size: `min_size` and `max_size` of `detection.FasterRCNN`.
    """
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    backbone = IntermediateLayerGetter(resnet, {"layer3": "0"})
    backbone.out_channels = 1024
    for part in (backbone["conv1"], backbone["layer1"]):
        part.requires_grad_(False)
    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(SIZES, ((0.5, 1.0, 2.0),)),
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_roi_pool=MultiScaleRoIAlign(["0"], BINS, 0),
        box_head=nn.Identity(),
        box_predictor=Split(labels),
        **size,
    )
    model.roi_heads.box_roi_pool = ScoreMaps(resnet.layer4, labels)
    return model
