"""A network by its name in conf/model or from a checkpoint, and what it costs."""

from dataclasses import dataclass

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from dotcom.benchmark.targets import Target
from dotcom.config import register_resolvers
from dotcom.deploy.fuse import fuse
from dotcom.errors import CONF, UsageError
from dotcom.models import Classifier, from_checkpoint
from dotcom.models.cost import macs, parameters

CLASSES = 1000  # as ImageNet-1k, where the published top-1 comes from


@dataclass(frozen=True)
class Built:
    """A network, and what it costs.

    Args:
        network: As trained, in evaluation mode.
        image_size: In pixels: as asked for, or the only one that it takes.
        own_size: Whether it is the latter, and differs from what was asked for.
        parameters: As trained.
        deployed_parameters: Fused: without batch norms, and the branches of training folded into one.
        macs: Of one image, of convolutions, linear layers and attention; fused likewise.
    """

    network: nn.Module
    image_size: int
    own_size: bool
    parameters: int
    deployed_parameters: int
    macs: int


def built(target: Target, image_size: int | None) -> Built:
    """Build, or load, what a target names.

    Args:
        target: A model or a checkpoint.
        image_size: In pixels; None: as the checkpoint's run had it.
    """
    asked = image_size or target.image_size
    assert asked is not None
    network = from_checkpoint(target.source) if target.kind == "checkpoint" else from_conf(target.source)
    size = only_size(network) or asked
    if target.kind == "checkpoint" and size != asked:
        raise UsageError(f"--size {asked}: {target.name} takes images of {size} only; leave --size out")
    fused = fuse(network)
    return Built(
        network=network,
        image_size=size,
        own_size=size != asked,
        parameters=parameters(network),
        deployed_parameters=parameters(fused),
        macs=sum(macs(fused, size).values()),
    )


def from_conf(choice: str) -> Classifier:
    """A choice of conf/model with random weights and 1000 classes; one made for a single size in that size."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"model={choice}", "image_size=null"])
    torch.manual_seed(0)
    return Classifier(instantiate(config.model), CLASSES).eval()


def only_size(network: nn.Module) -> int | None:
    """The side of the images that a network is bound to, in pixels."""
    fixed = getattr(network.backbone, "fixed_size", None)
    return None if fixed is None else int(fixed[0])
