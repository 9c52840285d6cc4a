"""The forms of one network from as published to as deployed, each with one rewrite more than the one before."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from dotcom.bench.randomised import randomised
from dotcom.bench.reference import reference
from dotcom.deploy.fuse import fuse
from dotcom.deploy.graph import Graph, deployed
from dotcom.deploy.tokens import heads_in_batch, standardise
from dotcom.models import Classifier, DoTCoM
from dotcom.models.dot import DoTBlock

Form = Callable[[nn.Module, int, str], Graph]


def network(variant: str) -> nn.Module:
    """A size as published, 1000 classes, with statistics, scales, shifts and Co-Bias that are not neutral."""
    torch.manual_seed(0)
    return randomised(Classifier(DoTCoM.from_variant(variant), 1000)).requires_grad_(False)


def rewritten(network: nn.Module, *rewrites: Callable[[nn.Module], None]) -> nn.Module:
    """Fused, and then changed in place."""
    network = fuse(network)
    for rewrite in rewrites:
        rewrite(network)
    return network


def without_first_co_bias(network: nn.Module) -> nn.Module:
    """Another function: what the additions of the first Co-Bias cost is the difference in time."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, DoTBlock):
            module.bias_in = nn.Identity()
    return network


PUBLISHED = "published"
DEPLOYED = "deployed"
WITHOUT = "deployed, no first Co-Bias"
FORMS: dict[str, Form] = {
    PUBLISHED: lambda network, size, _: Graph(reference(network), size),
    "+ fuse": lambda network, size, _: Graph(reference(fuse(network)), size),
    "+ patches on four axes, fused attention": lambda network, size, _: Graph(fuse(network), size),
    "+ heads in batch": lambda network, size, _: Graph(rewritten(network, heads_in_batch), size),
    "+ standardise": lambda network, size, _: Graph(rewritten(network, heads_in_batch, standardise), size),
    DEPLOYED: deployed,
    WITHOUT: lambda network, size, runtime: deployed(without_first_co_bias(network), size, runtime),
}
