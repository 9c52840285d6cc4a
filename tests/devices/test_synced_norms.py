"""Batch norms over all processes compute what one process would on the batches put together, to 1e-10 in float64."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from hosts import CONTEXT
from torch import nn

from dotcom.callbacks.norms import GlooBatchNorm, SyncedBatchNorms, sync_on_cpu, sync_on_gpu
from dotcom.errors import UsageError

BATCHES = (3, 5)  # of the two processes; need not be equal
EQUAL = {"atol": 1e-10, "rtol": 1e-9}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(6), nn.BatchNorm1d(6)
    net = nn.Sequential(*layers).double()
    net(torch.zeros(2, 3, 6, 6, dtype=torch.double))
    return net.apply(lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None)


def learnt(net: nn.Module, images: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs, gradients and running statistics after a loss that is a sum over the images."""
    images = images.clone().requires_grad_()
    output = net(images)
    (output.sin() * weights).sum().backward()
    return {"output": output.detach(), "images": images.grad, **{k: p.grad for k, p in net.named_parameters()}}


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    net = network()
    sync_on_cpu(net)
    images, weights = torch.load(f"{folder}/data.pt")
    found = learnt(net, images.split(BATCHES)[rank], weights.split(BATCHES)[rank])
    torch.save((found, net.state_dict(), net.eval()(images)), f"{folder}/{rank}.pt")


def test_gloo_batch_norm__is_batch_norm_of_the_whole_batch(tmp_path: Path):
    torch.manual_seed(1)
    images, weights = torch.randn(8, 3, 6, 6).double() + 100, torch.randn(8, 6).double()  # far from 0: digits to lose
    torch.save((images, weights), tmp_path / "data.pt")
    processes = [CONTEXT.Process(target=one_of_two, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in processes:
        process.start()
    whole = network()
    expected = learnt(whole, images, weights)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    (first, states, evaluated), (second, others, _) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, values in expected.items():
        joined = name in ("output", "images")
        found = torch.cat([first[name], second[name]]) if joined else first[name] + second[name]
        torch.testing.assert_close(found, values, **EQUAL, msg=lambda text, name=name: f"{name}: {text}")
    for name, values in whole.state_dict().items():
        torch.testing.assert_close(states[name], values, **EQUAL)
        assert torch.equal(states[name], others[name])
    torch.testing.assert_close(evaluated, whole.eval()(images), **EQUAL)


def test_gloo_batch_norm__is_as_exact_in_mixed_precision_as_any(monkeypatch):
    monkeypatch.setattr("dotcom.callbacks.norms.summed", lambda numbers: numbers)  # of one process
    torch.manual_seed(2)
    images = (torch.randn(5, 4, 9, 9) + 10).bfloat16()
    ours, usual = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    sync_on_cpu(nn.Sequential(ours))
    found, expected = ours(images), usual(images)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.running_mean, usual.running_mean)
    torch.testing.assert_close(ours.running_var, usual.running_var)


def synced(enabled: bool, world: int, kind: str, net: nn.Module) -> set[type]:
    trainer = SimpleNamespace(world_size=world, strategy=SimpleNamespace(root_device=torch.device(kind)))
    SyncedBatchNorms(enabled).setup(trainer, net, "fit")
    return {type(module) for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}


def test_norms__are_synchronised_only_if_asked_and_not_alone():
    assert synced(False, 2, "cpu", network()) == synced(True, 1, "cpu", network()) == {nn.BatchNorm1d, nn.BatchNorm2d}
    assert synced(True, 2, "cpu", network()) == {GlooBatchNorm}
    assert synced(True, 2, "cuda", network()) == {nn.SyncBatchNorm}


def test_norms_with_an_activation__keep_it_or_are_refused():
    norm_act = pytest.importorskip("timm.layers").BatchNormAct2d
    with pytest.raises(UsageError, match=r"^sync_batchnorm=true: 0 is a BatchNormAct2d, which only GPUs synchronise$"):
        sync_on_cpu(nn.Sequential(norm_act(4)))
    net = nn.Sequential(norm_act(4))
    sync_on_gpu(net)
    assert isinstance(net[0], nn.SyncBatchNorm)
    assert isinstance(net[0].act, nn.ReLU)
