"""Atrous spatial pyramid pooling, with the pooled image as what it is: a constant per channel."""

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from dotcom.models.segmenter import Segmenter


class PooledOnce(nn.Module):
    """Fused ASPP whose last branch, the mean of the image, meets the others in one pixel instead of in all.

    W [maps, resized pool] = W1 maps + W2 pool: enlarging one pixel to a map that a 1x1 convolution then reads is
    adding the convolution of that pixel. A fifth of the products of that convolution, and the enlarging, are gone.

    Shape: (B, C, H, W) -> (B, 256, H, W).
    """

    def __init__(self, aspp: ASPP) -> None:
        super().__init__()
        self.branches = aspp.convs[:-1]
        self.pooled = nn.Sequential(*list(aspp.convs[-1])[1:])
        joined, self.act = aspp.project[0], aspp.project[2]
        width = joined.out_channels
        self.join = nn.Conv2d(joined.in_channels - width, width, 1)
        self.add = nn.Conv2d(width, width, 1, bias=False)
        self.join.weight = nn.Parameter(joined.weight[:, :-width].clone())
        self.add.weight = nn.Parameter(joined.weight[:, -width:].clone())
        self.join.bias = joined.bias

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.cat([branch(x) for branch in self.branches], dim=1)
        return self.act(self.join(maps) + self.add(self.pooled(x.mean(dim=(2, 3), keepdim=True))))


def pool_once(network: Segmenter) -> None:
    """Replace the ASPP of a fused segmenter in place."""
    network.aspp = PooledOnce(network.aspp).requires_grad_(False)
