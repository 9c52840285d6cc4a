"""The network that each row of the README names, and what it costs; on the meta device, so without arithmetic."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from dotcom.models import FAT, Classifier, Detector, DoTCoM, EdgeViT, Segmenter, TimmBackbone
from dotcom.models.cost import macs, parameters

DOTCOM = {f"DoTCoM-{size.capitalize()}": size for size in ("tiny", "small", "base", "large")}
SHORT = {f"DoTCoM-{size[0].upper()}": size for size in DOTCOM.values()}  # as the Exynos table calls them
EDGEVIT = {"EdgeViT-XXS": "xxs", "EdgeViT-XS": "xs", "EdgeViT-S": "s"}
FATS = {"FAT-B0": "b0", "FAT-B1": "b1", "FAT-B2": "b2"}
TIMM = {  # name in timm, side of the images it was published for
    "DeiT": ("deit_tiny_patch16_224", 224),
    "MobileViT-XXS": ("mobilevit_xxs", 256),
    "MobileViT-XS": ("mobilevit_xs", 256),
    "MobileViT-S": ("mobilevit_s", 256),
    "MobileNetv2": ("mobilenetv2_075", 224),  # of the widths, the one with the parameters and the top-1 of the row
    "SHViT-S1": ("shvit_s1", 224),
    "SHViT-S2": ("shvit_s2", 224),
    "SHViT-S3": ("shvit_s3", 224),
    "SHViT-S4": ("shvit_s4", 256),
    "CrossViT": ("crossvit_tiny_240", 240),
    "FastViT-T8": ("fastvit_t8", 256),
    "FastViT-T12": ("fastvit_t12", 256),
    "FastViT-S12": ("fastvit_s12", 256),
    "FastViT-SA12": ("fastvit_sa12", 256),
    "EfficientNet-B0": ("efficientnet_b0", 224),
    "RepViT-M0.9": ("repvit_m0_9", 224),
    "RepViT-M1.0": ("repvit_m1_0", 224),
    "RepViT-M1.1": ("repvit_m1_1", 224),
    "RepViT-M1.5": ("repvit_m1_5", 224),
}
FOLDING = ("FastViT", "RepViT", "SHViT")  # families whose authors count what is left after that
NORMS = {nn.BatchNorm2d: 2, nn.LayerNorm: 5, nn.GroupNorm: 5}  # operations an element, as fvcore counts them
ALL, LINEAR, CONVOLUTION = "all", "convolution and linear", "convolution"
WITH_NORMS = "all and norms, as fvcore counts"
CLASSES = {"coco": 80, "voc": 21}


@dataclass(frozen=True)
class Cost:
    """Parameters by the form of the network, multiply-accumulates by what is counted, at one image size."""

    parameters: Mapping[str, int]
    macs: Mapping[str, int]
    image_size: int


def classifier_cost(subject: str, block: str = "qib", co_bias: bool = True) -> Cost:
    """What the classifier of a row costs, for 1000 classes and images of the size it was published for.

    Args:
        subject: Row of the README.
        block: Of a DoTCoM.
        co_bias: Of a DoTCoM.
    """
    size = SHORT.get(subject)
    return _classifier_cost(f"DoTCoM-{size.capitalize()}" if size else subject, block, co_bias)


@cache
def _classifier_cost(subject: str, block: str, co_bias: bool) -> Cost:
    with torch.device("meta"):
        network, side = classifier(subject, block, co_bias)
    forms = {"as trained": parameters(network)}
    counts, norms = counted(network, side)
    if subject.startswith(FOLDING):
        with torch.device("meta"):
            forms["folded"] = folded(network)
    both = counts["convolution"] + counts["linear"]
    everything = both + counts["attention"]
    ways = {ALL: everything, LINEAR: both, CONVOLUTION: counts["convolution"], WITH_NORMS: everything + norms}
    return Cost(forms, ways, side)


@cache
def block_sizes(block: str) -> dict[str, int]:
    """Parameters of the four DoTCoM with a convolution block."""
    with torch.device("meta"):
        return {name: parameters(classifier(name, block, co_bias=True)[0]) for name in DOTCOM}


def classifier(subject: str, block: str, co_bias: bool) -> tuple[nn.Module, int]:
    """A network with 1000 classes, and the side of the images it was published for."""
    if size := DOTCOM.get(subject):
        return Classifier(DoTCoM.from_variant(size, block=block, co_bias=co_bias), 1000), 256
    if size := EDGEVIT.get(subject):
        return Classifier(EdgeViT.from_variant(size), 1000), 224
    if size := FATS.get(subject):
        return Classifier(FAT.from_variant(size), 1000), 224
    import timm

    name, side = TIMM[subject]
    return timm.create_model(name), side


def folded(network: nn.Module) -> int:
    """Parameters after timm has folded branches and norms that only training needs; changes the network."""
    from timm.utils.model import reparameterize_model

    return parameters(reparameterize_model(network, inplace=True))


def counted(network: nn.Module, image_size: int) -> tuple[dict[str, int], int]:
    """Multiply-accumulates by kind, and the operations of norms.

    Norms are not carried out, which on the meta device takes most of the time: afterwards the network is spoilt.
    """
    norms = 0

    def add(each: int, x: torch.Tensor) -> torch.Tensor:
        nonlocal norms
        norms += each * x.numel()
        return x

    for module in network.modules():
        for kind, each in NORMS.items():
            if isinstance(module, kind):
                module.forward = partial(add, each)
    return macs(network, image_size), norms


@cache
def head_cost(section: str, subject: str) -> dict[str, int]:
    """Parameters of the detector (``coco``) or segmenter (``voc``) of a row, by the heads that we offer."""
    make = backbone(subject)
    with torch.device("meta"):
        if section == "coco":
            return {"SSDLite": parameters(Detector(make(), CLASSES[section]))}
        heads = {
            "DeepLabV3, separable": {"head": "deeplabv3", "separable": True},
            "DeepLabV3, dense": {"head": "deeplabv3", "separable": False},
            "on the stride-16 map, dense": {"head": "mobilevit", "separable": False},
        }
        return {name: parameters(Segmenter(make(), CLASSES[section], **options)) for name, options in heads.items()}


def backbone(subject: str) -> Callable[[], Any]:
    """Makes the backbone of a row of the tables of detectors and segmenters."""
    if size := DOTCOM.get(subject):
        return partial(DoTCoM.from_variant, size)
    if size := EDGEVIT.get(subject):
        return partial(EdgeViT.from_variant, size)
    return partial(TimmBackbone, {"MobileViTv1-S": "mobilevit_s", "ResNet-101": "resnet101"}[subject])
