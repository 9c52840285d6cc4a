"""Image classification: the last map of a backbone, averaged, then one linear layer."""

from torch import Tensor, nn

from dotcom.models.dotcom import Backbone
from dotcom.models.init import init_weights
from dotcom.models.weights import load_weights


class Classifier(nn.Module):
    """Images (B, 3, H, W), normalised -> logits (B, num_classes).

    Args:
        backbone: Its last map is read.
        num_classes: Width of the logits.
        weights: A checkpoint of ours or of the original repository to start from; see ``load_weights``.
    """

    def __init__(self, backbone: Backbone, num_classes: int, weights: str | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.channels[-1], num_classes)
        init_weights(self.head, "head")
        if weights:
            load_weights(self, weights)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[-1].mean(dim=(2, 3)))
