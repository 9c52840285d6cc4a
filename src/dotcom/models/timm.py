"""Any network of timm behind the contract of our backbone, so that peers train under the same recipe."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from torch import Tensor, nn

from dotcom.errors import causes, did_you_mean, flat, spelled
from dotcom.models.staged import check_size

STRIDES = (4, 8, 16, 32)
OWN = "dotcom_"


class TimmBackbone(nn.Module):
    """Images (B, 3, H, W), normalised -> maps at strides 4, 8, 16 and 32, or the embedding that timm classifies.

    With a pyramid: those maps of the four that the network has (SHViT begins at 16), (B, C, H / stride, W / stride),
    and none of the parameters behind the last one. Without: the published network up to the linear layer that
    classifies, and its pooled embedding as one map (B, C, 1, 1). Parameters have the same names in both forms, so a
    trained classifier starts a detector.

    Source: timm (PyTorch Image Models); drawn from the global seed as timm does.
    Note: RepViT keeps the batch norms of both its heads, and CrossViT gets one linear layer over both its embeddings
        in place of the mean of two, which computes the same.
    Note: weights of timm expect images normalised as ``network.default_cfg`` says; MobileViT's those in [0, 1].

    Args:
        name: As in ``timm.list_models()`` or, with a tag that names one set of weights, ``timm.list_pretrained()``.
        pyramid: True for detection and segmentation; False for classification, which every network can do.
        pretrained: Download timm's weights, or take them from its cache.
        image_size: Side in pixels, for networks made for one size; others ignore it. Default: as published.

    Attributes:
        channels: Width of each returned map.
        strides: Input pixels per cell of each returned map; empty for the embedding, whose cell is the whole image.

    Raises:
        ValueError: If timm has no such network, the network no pyramid, or the weights cannot be had. In ``forward``,
            if H or W is no multiple of 32, or not the size that the network is made for.
        ImportError: If timm is not installed.
    """

    def __init__(
        self, name: str, pyramid: bool = True, pretrained: bool = False, image_size: int | None = None
    ) -> None:
        super().__init__()
        published = _published(name, pretrained)
        self.name = name
        self.pyramid = pyramid
        self.options: dict[str, int] = {"img_size": image_size} if published.fixed_input_size and image_size else {}
        self.network = _create(name, pyramid, pretrained, self.options)
        self.fixed_size: tuple[int, int] | None = None
        if published.fixed_input_size:
            self.fixed_size = (image_size, image_size) if image_size else published.input_size[1:]
        self.taps = [i for i, stage in enumerate(_stages(self.network)) if pyramid and stage["reduction"] in STRIDES]
        self.channels: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        self._describe()
        if not pyramid:
            self.channels = (_remove_classifier(self.network),)
        elif not {16, 32} <= set(self.strides):
            expected = "expected a model with maps at strides 16 and 32 for detection and segmentation"
            raise ValueError(f"name={name}: it has no feature pyramid; {expected}; it works for classification")
        else:
            self.network.prune_intermediate_layers(self.taps, prune_norm=True)

    def _describe(self) -> None:
        stages = [_stages(self.network)[i] for i in self.taps]
        self.channels = tuple(stage["num_chs"] for stage in stages)
        self.strides = tuple(stage["reduction"] for stage in stages)

    def keep(self, num_stages: int) -> Self:
        """Drop what comes after the first ``num_stages`` maps, so that no parameter goes unused."""
        if not 1 <= num_stages <= len(self.channels):
            raise ValueError(f"num_stages must be 1 to {len(self.channels)}, got {num_stages}")
        if self.pyramid:
            self.taps = self.taps[:num_stages]
            self.network.prune_intermediate_layers(self.taps, prune_norm=True)
            self._describe()
        return self

    def dilate(self) -> Self:
        """Dilate the last stage instead of striding, weights unchanged: its map gets stride 16 instead of 32.

        For networks whose ``output_stride`` timm lets one choose: ResNet, EfficientNet, MobileNet, MobileViT,
        ConvNeXt, RegNet and their kin. RepViT, FastViT, SHViT and other networks stay as they are.
        The network is built anew on the CPU: call this before it moves to another device.
        """
        if not self.pyramid:
            return self
        try:
            dilated = _create(self.name, True, False, {**self.options, "output_stride": 16})
            dilated.prune_intermediate_layers(self.taps, prune_norm=True)
            dilated.load_state_dict(self.network.state_dict())
        except (TypeError, AssertionError, NotImplementedError, RuntimeError):  # how networks refuse, each its own way
            return self
        self.network = dilated.train(self.training)
        self._describe()
        return self

    def recompute(self, stages: Sequence[int] | Literal["all"]) -> Self:
        """Refuse: timm's own way would let batch norm count each batch twice in its running statistics."""
        raise ValueError(f"name={self.name}: networks of timm keep what they compute; expected no stages, got {stages}")

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters from the first layer to the last, grouped coarsely as timm does: stem, stages, what follows."""
        from timm.models import group_parameters

        parameters = dict(self.network.named_parameters())
        groups: Any = group_parameters(self.network, self.network.group_matcher(coarse=True))
        return [[parameters[name] for name in groups[layer]] for layer in sorted(groups)]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self._check_size(*images.shape[-2:])
        if not self.pyramid:
            return (self.network(images)[:, :, None, None],)
        return tuple(self.network.forward_intermediates(images, indices=self.taps, intermediates_only=True))

    def _check_size(self, height: int, width: int) -> None:
        if self.fixed_size is None:
            check_size(height, width)
        elif (height, width) != self.fixed_size:
            expected = "x".join(map(str, self.fixed_size))
            raise ValueError(f"name={self.name}: expected images of {expected}, got {height}x{width}; set image_size")


def create_classifier(name: str) -> tuple[nn.Module, Any]:
    """A network with timm's weights and classes, and what timm says of it (``mean``, ``std``, ``input_size``).

    Raises:
        ValueError: If timm has no such network, no weights for it, or they cannot be had.
    """
    published = _published(name, True)
    network: nn.Module = _create(name, False, True, {}, num_classes=published.num_classes)
    return network, published


def _published(name: str, pretrained: bool) -> Any:
    """What timm knows of a network: its input size, whether it can take others, whether there are weights."""
    try:
        import timm
    except ImportError:
        raise ImportError("model=timm needs timm: pip install 'dotcom[timm]'") from None
    known = sorted(each for each in {*timm.list_models(), *timm.list_pretrained()} if not each.startswith(OWN))
    if name not in known:
        word = spelled(name)  # null where the configuration names none
        if word.startswith(OWN):  # which import dotcom.timm makes known to timm
            raise ValueError(f"name={word}: a network of ours; use model={word.partition('.')[0]}")
        longer = sorted((other for other in known if other.startswith(word)), key=len)
        hint = f"; did you mean {longer[0]}?" if longer else did_you_mean(word, known)
        raise ValueError(f"name={word}: timm has no such model{hint or '; timm.list_models() lists them'}")
    published: Any = timm.get_pretrained_cfg(name)
    if pretrained and not published.has_weights:
        raise ValueError(f"weights=timm: timm has no weights for {name}; expected another name, or weights=null")
    return published


def _create(name: str, pyramid: bool, pretrained: bool, options: dict[str, int], num_classes: int | None = None) -> Any:
    """A network without classes for a pyramid; else with one, since timm ties norms in the head to having any."""
    import timm

    make: Any = timm.create_model
    classes = num_classes if num_classes is not None else 0 if pyramid else 1
    try:
        return make(name, pretrained, num_classes=classes, **options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        what = "downloaded" if isinstance(error, OSError) else "loaded"
        reason = flat(str(list(causes(error))[-1]))
        advice = "check the connection, or leave weights=timm out"
        raise ValueError(f"weights=timm: those of {name} could not be {what} ({reason}); {advice}") from error


def _remove_classifier(network: Any) -> int:
    """Take out the linear layer that classifies; returns the width of what is left, the embedding."""
    names = network.default_cfg["classifier"]
    paths = [names] if isinstance(names, str) else names
    classifiers = [network.get_submodule(path) for path in paths]
    for path in paths:
        network.set_submodule(path, nn.Identity())
    # two read parts of the embedding (CrossViT) or all of it (RepViT); of one, timm may name the width before an MLP
    return classifiers[0].weight.shape[1] if len(classifiers) == 1 else network.head_hidden_size


def _stages(network: Any) -> list[dict[str, Any]]:
    """Stride (``reduction``) and width (``num_chs``) of what ``forward_intermediates`` can return, in its order."""
    return list(getattr(network.feature_info, "info", network.feature_info))
