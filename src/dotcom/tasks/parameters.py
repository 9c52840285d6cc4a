"""Which parameters an optimiser moves, how fast, and which of them weight decay shrinks."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from omegaconf import ListConfig
from torch import nn
from torch.optim import Optimizer

Decayed = Literal["all", "matrices"]


def grouped_optimizer(
    make: Callable[..., Optimizer],
    network: nn.Module,
    backbone_lr: float = 1.0,
    layer_decay: float = 1.0,
    decayed: Decayed = "all",
) -> Optimizer:
    """Call ``make`` with groups of parameters, the fastest first; with the defaults it gets one group.

    Layer-wise learning-rate decay: ELECTRA (arXiv:2003.10555), Section 3.1, and BEiT (arXiv:2106.08254), Appendix;
    here per stage, as ConvNeXt (arXiv:2201.03545), Appendix A.1, groups several blocks. Weight decay on matrices
    alone: He et al. (arXiv:1812.01187), Section 3.1.

    Args:
        make: Called with the groups; its ``lr`` is that of the head.
        network: Its ``backbone`` is slowed down; everything else is the head.
        backbone_lr: Learning rate of the backbone as a fraction of that of the head, in (0, 1].
        layer_decay: Factor from one layer of the backbone to the one before it, in (0, 1]: the last stage of four
            learns at ``layer_decay`` times the rate of the head, the stem at ``layer_decay ** 5``.
        decayed: ``"all"`` leaves the optimiser's weight decay on every parameter; ``"matrices"`` takes it from
            vectors and scalars (norms, biases, Co-Bias) and from what a timm network names in ``no_weight_decay``.

    Raises:
        ValueError: If ``decayed`` is something else.
    """
    if decayed not in get_args(Decayed):
        raise ValueError(f"decayed must be one of {get_args(Decayed)}, got {decayed!r}")
    rates = _rates(network, backbone_lr, layer_decay)
    spared = _spared(network) if decayed == "matrices" else set()
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault((rates.get(parameter, 1.0), parameter not in spared), []).append(parameter)
    keys = sorted(groups, reverse=True)
    optimizer = make([_group(groups[key], decays=key[1]) for key in keys])
    for group, (rate, _) in zip(optimizer.param_groups, keys, strict=True):
        group["lr"] *= rate
        group |= {key: tuple(value) for key, value in group.items() if isinstance(value, ListConfig)}  # as betas
    return optimizer


def _group(parameters: list[nn.Parameter], decays: bool) -> dict[str, Any]:
    return {"params": parameters} if decays else {"params": parameters, "weight_decay": 0.0}


def _rates(network: nn.Module, backbone_lr: float, layer_decay: float) -> dict[nn.Parameter, float]:
    """Learning rate of each parameter of the backbone, as a fraction of that of the head."""
    if backbone_lr == layer_decay == 1.0:
        return {}
    backbone: Any = network.backbone
    if layer_decay == 1.0:
        return dict.fromkeys(backbone.parameters(), backbone_lr)
    layers: list[Iterable[nn.Parameter]] = backbone.layers()
    distances = range(len(layers), 0, -1)  # from the head
    return {
        parameter: backbone_lr * layer_decay**distance
        for layer, distance in zip(layers, distances, strict=True)
        for parameter in layer
    }


def _spared(network: nn.Module) -> set[nn.Parameter]:
    """What a layer would miss if it shrank: vectors, scalars, and what timm's networks name (positions, tokens)."""
    parameters = dict(network.named_parameters())
    names = {name for name, parameter in parameters.items() if parameter.ndim <= 1}
    for path, module in network.named_modules():
        named: Any = getattr(module, "no_weight_decay", set)  # timm's networks have it
        names |= {f"{path}.{name}" for name in named()}
    return {parameter for name, parameter in parameters.items() if name in names}
