"""The two paths of a QG block fit into one convolution, but for many times the products: why ``fuse`` leaves them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dotcom.bench.randomised import randomised
from dotcom.deploy.fuse import fuse
from dotcom.models.blocks import ResidualBlock


def dense(convolution: nn.Conv2d) -> Tensor:
    """Its kernel as a 3x3 one without groups."""
    kernel = torch.zeros(convolution.out_channels, convolution.in_channels, 3, 3)
    rows, columns, size = kernel.shape[0] // convolution.groups, convolution.weight.shape[1], convolution.kernel_size[0]
    for group in range(convolution.groups):
        block = kernel[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns]
        block[:, :, (3 - size) // 2 : (3 + size) // 2, (3 - size) // 2 : (3 + size) // 2] = convolution.weight[
            group * rows : (group + 1) * rows
        ]
    return kernel


class Merged(nn.Module):
    """The two ways in which the paths of a fused QG block with a skip of stride 1 fit into one convolution."""

    def __init__(self, block: nn.Module, first: bool) -> None:
        super().__init__()
        conv1, conv2, skip = block.conv1[0], block.conv2[0], block.skip[0]
        self.block, self.first = block, first
        if first:
            self.weight = torch.cat([dense(conv1), dense(skip)])
            self.bias = torch.cat([conv1.bias, torch.zeros_like(conv1.bias)])
        else:
            self.weight, self.bias = torch.cat([dense(conv2), dense(skip)], dim=1), conv2.bias

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            y, skip = F.conv2d(x, self.weight, self.bias, padding=1).chunk(2, dim=1)
            return self.block.act(self.block.conv2(F.silu(y)) + skip)
        return self.block.act(F.conv2d(torch.cat([self.block.conv1(x), x], dim=1), self.weight, self.bias, padding=1))


@pytest.mark.parametrize("first", [True, False])
def test_fuse__could_merge_paths_of_qg_only_for_many_times_the_products(first):
    block = fuse(randomised(nn.Sequential(nn.Conv2d(3, 16, 1), ResidualBlock(16, 32, groups=4))))[1]
    merged, x = Merged(block, first), torch.randn(1, 16, 8, 8)
    assert torch.allclose(block(x), merged(x), atol=1e-5)
    products = []
    for form in (block, merged):
        with FlopCounterMode(display=False) as counter:
            form(x)
        products.append(counter.get_total_flops())
    assert products[1] / products[0] > 2.5
