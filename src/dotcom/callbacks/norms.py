"""Batch norms that see the batches of all processes as one, on GPUs and on the CPU."""

from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dotcom.errors import UsageError


class SyncedBatchNorms(L.Callback):
    """Normalises over the batches of all processes, so that N of them compute what one would of N times the batch.

    On GPUs by PyTorch's ``SyncBatchNorm``; it refuses tensors of a CPU, where ``GlooBatchNorm`` takes its place. The
    names of the weights stay, and so does everything in evaluation. With one process there is nothing to do.

    Args:
        enabled: Whether to do so.
    """

    def __init__(self, enabled: bool = False) -> None:
        self.enabled = enabled

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.enabled and trainer.world_size > 1 and stage == "fit":
            (sync_on_cpu if trainer.strategy.root_device.type == "cpu" else sync_on_gpu)(pl_module)


def sync_on_cpu(network: nn.Module) -> None:
    """Turn each batch norm into a ``GlooBatchNorm``, in place: same weights, same names, same hooks."""
    for name, module in network.named_modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            module.__class__ = GlooBatchNorm
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UsageError(f"sync_batchnorm=true: {name} is a {type(module).__name__}, which only GPUs synchronise")


def sync_on_gpu(network: nn.Module) -> None:
    """Turn each batch norm into a ``SyncBatchNorm``; timm's carry an activation, which only timm's function keeps."""
    if any(type(module).__module__.startswith("timm.") for module in network.modules()):
        from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    else:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


class GlooBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batches of all processes, in PyTorch's own operations, which any backend can sum.

    Mean, then the sum of squared distances from it: in two sums over the processes, because the difference of two large
    sums would lose digits. Gradients flow through both sums.

    Shape: (B, C, ...) -> (B, C, ...); B may differ between the processes.
    Source: Ioffe and Szegedy, arXiv:1502.03167, Algorithm 1, over the union of the batches.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two on will do."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        each = [0, *range(2, input.ndim)]
        shape = (-1, *(1,) * (input.ndim - 2))  # of one number per channel, to go with the input
        values = input.to(torch.promote_types(input.dtype, torch.float32))  # bfloat16 counts to 256
        sums = summed(torch.cat([values.sum(each), values.new_tensor([input.numel() / input.shape[1]])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = summed(centred.square().sum(each)) / count
        self._track(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return torch.addcmul(self.bias.view(shape), centred, scale.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics, which hold the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), rate)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), rate)


class Summed(torch.autograd.Function):
    """The sum of a tensor over all processes; the gradients of all of them, summed, flow back to each."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        total = numbers.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def summed(numbers: Tensor) -> Tensor:
    """``Summed`` as a function."""
    total: Tensor = Summed.apply(numbers)
    return total
