"""Batch norms that see the batches of all processes as one, on GPUs and on the CPU."""

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncedBatchNorms(L.Callback):
    """Normalises over the batches of all processes, so that N of them compute what one would of N times the batch.

    On GPUs by PyTorch's ``SyncBatchNorm``; it refuses tensors of a CPU, where ``GlooBatchNorm2d`` takes its place. The
    names of the weights stay, and so does everything in evaluation. With one process there is nothing to do.

    Args:
        enabled: Whether to do so.
    """

    def __init__(self, enabled: bool = False) -> None:
        self.enabled = enabled

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not self.enabled or trainer.world_size == 1 or stage != "fit":
            return
        if trainer.strategy.root_device.type != "cpu":
            nn.SyncBatchNorm.convert_sync_batchnorm(pl_module)  # type: ignore[no-untyped-call]
            return
        for module in pl_module.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = GlooBatchNorm2d  # in place: same weights, same name, same hooks


class GlooBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, in PyTorch's own operations, which any backend can sum.

    Mean, then the sum of squared distances from it: in two sums over the processes, because the difference of two large
    sums would lose digits. Gradients flow through both sums.

    Shape: (B, C, H, W) -> (B, C, H, W); B may differ between the processes.
    Source: Ioffe and Szegedy, arXiv:1502.03167, Algorithm 1, over the union of the batches.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        each = (0, 2, 3)
        numbers = input.new_tensor([input.numel() / input.shape[1]])
        sums = summed(torch.cat([input.sum(each), numbers]))
        count = sums[-1].detach()
        centred = input - (mean := sums[:-1] / count)[:, None, None]
        variance = summed(centred.square().sum(each)) / count
        self._track(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None])

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics, which hold the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), rate)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), rate)


def summed(numbers: Tensor) -> Tensor:
    """Over all processes; the gradients of all of them flow back."""
    return all_reduce(numbers)  # type: ignore[no-untyped-call]
