"""What each stage of a network computes and costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dotcom.models.cost import macs_by_module, parameters


@dataclass(frozen=True)
class Stage:
    """One part of a network.

    Attributes:
        name: Path in the network; ``""`` for the whole, ``"rest"`` for what no part has.
        shape: Of its last output for one image, without the batch; None if it has none, or was not called by itself.
        stride: Pixels of the image per cell of a map; None for what is no map.
        parameters: How many numbers it has.
        macs: Of one image: ``convolution``, ``linear`` and ``attention``.
    """

    name: str
    shape: tuple[int, ...] | None
    stride: int | None
    parameters: int
    macs: dict[str, int]

    @property
    def layers(self) -> int:
        """MACs of convolutions and linear layers."""
        return self.macs["convolution"] + self.macs["linear"]

    @property
    def all(self) -> int:
        """MACs with the products of attention."""
        return sum(self.macs.values())


def stages(network: nn.Module, image_size: int) -> list[Stage]:
    """The parts of a Classifier, Detector or Segmenter in the order of its definition, the whole last.

    The backbone is cut where its maps are, and where timm's ``feature_info`` says. Parts add up to the whole.
    """
    names = list(parts(network, features(network)))
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs = list(output.values()) if isinstance(output, dict) else output
            last = outputs[-1] if isinstance(outputs, (list, tuple)) else outputs
            if isinstance(last, Tensor):
                shapes[name] = tuple(last.shape[1:])

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(note(name)) for name in names]
    costs = macs_by_module(network, image_size)
    for hook in hooks:
        hook.remove()
    nothing = dict.fromkeys(costs[""], 0)
    found = [
        Stage(
            name, shapes.get(name), stride(shapes.get(name), image_size), parameters(module), costs.get(name, nothing)
        )
        for name in names
        for module in [network.get_submodule(name)]
    ]
    whole = Stage("", shapes.get(""), None, parameters(network), costs[""])
    return [*found, *rest(found, whole), whole]


def features(network: nn.Module) -> set[str]:
    """Paths of what the backbone's maps come from."""
    backbone: Any = network.backbone
    if hasattr(backbone, "stages"):
        return {f"backbone.stages.{number}" for number in range(len(backbone.stages))}
    info = getattr(backbone.network.feature_info, "info", backbone.network.feature_info)
    names = {f"backbone.network.{stage['module']}" for stage in info}
    return {name for name in names if name in dict(network.named_modules())}


def parts(network: nn.Module, cuts: set[str], prefix: str = "") -> Iterator[str]:
    """Paths of children, those that hold a cut taken apart; parts without parameters are left out."""
    for name, child in network.named_children():
        path = f"{prefix}{name}"
        if any(cut.startswith(f"{path}.") for cut in cuts) or isinstance(child, nn.ModuleList):
            yield from parts(child, cuts, f"{path}.")
        elif parameters(child):
            yield path


def stride(shape: tuple[int, ...] | None, image_size: int) -> int | None:
    """Pixels per cell of a map (C, H, W), whose halvings round up; None for what is no map, or a single cell."""
    if shape is None or len(shape) != 3 or shape[1] != shape[2] or shape[1] == 1:
        return None
    return next((2**power for power in range(10) if -(-image_size // 2**power) == shape[1]), None)


def rest(found: list[Stage], whole: Stage) -> list[Stage]:
    """What the whole has beyond its parts, if anything."""
    macs = {kind: count - sum(stage.macs[kind] for stage in found) for kind, count in whole.macs.items()}
    count = whole.parameters - sum(stage.parameters for stage in found)
    return [Stage("rest", None, None, count, macs)] if count or any(macs.values()) else []
