"""DoTCoM with the methods that timm asks of a network, around our one backbone."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dotcom.models.blocks import BlockKind
from dotcom.models.dot import CoBias, CoBiasKind
from dotcom.models.dotcom import DoTCoM, DoTCoMConfig
from dotcom.models.init import init_weights
from dotcom.models.recompute import recomputed
from dotcom.models.staged import check_size
from dotcom.timm.names import rename
from dotcom.timm.taps import taken

POOLS = ("avg", "")


class TimmDoTCoM(nn.Module):
    """Images (B, in_chans, H, W), normalised -> logits (B, num_classes), as timm's own networks do it.

    The names of its weights are those of ``dotcom.models.Classifier``, and so are the logits, bit for bit. Checkpoints
    of our runs and weights of the original repository can be loaded as they are.

    Note: weights are drawn from the seed of ``torch.manual_seed`` and their names, so that two networks of one seed are
        equal; see ``dotcom.models.init``.
    Note: ``torch.jit.script`` is not supported, for einops is not; ``torch.export`` and ``torch.compile`` are.

    Args:
        cfg: A published size.
        num_classes: Width of the logits; 0 leaves the classifier out.
        in_chans: Channels of an image.
        global_pool: ``"avg"``, or ``""`` to leave the last map as it is, which takes ``num_classes=0``.
        output_stride: 32, or 16 to dilate the last stage instead of striding.
        drop_rate: Of the dropout before the classifier, in [0, 1].
        block: Kind of the convolution blocks; default as in ``cfg``.
        co_bias: Which Co-Biases there are; default as in ``cfg``.
        device: Of the weights; ``dtype`` as well.

    Attributes:
        feature_info: Width (``num_chs``) and stride (``reduction``) of each stage's map, and the stage (``module``).
        num_features: Width of the last map, and of the embedding.

    Raises:
        ValueError: If an argument is out of range; in ``forward``, if H or W is no multiple of 32.
    """

    head: nn.Module
    global_pool: str

    def __init__(
        self,
        cfg: DoTCoMConfig,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        block: BlockKind | None = None,
        co_bias: CoBiasKind | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if output_stride not in (16, 32):
            raise ValueError(f"output_stride must be 32 or 16, got {output_stride}")
        cfg = replace(cfg, block=block or cfg.block, co_bias=cfg.co_bias if co_bias is None else co_bias)
        with torch.device(device) if device else nullcontext():
            self.backbone = DoTCoM(cfg)
            if in_chans != 3:
                self.backbone.set_submodule("stem.0.0", first_conv(in_chans, cfg.stem))
        if output_stride == 16:
            self.backbone.dilate()
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.num_features = self.head_hidden_size = self.backbone.channels[-1]
        maps = enumerate(zip(self.backbone.channels, self.backbone.strides, strict=True))
        self.feature_info = [
            {"num_chs": width, "reduction": stride, "module": f"backbone.stages.{i}"} for i, (width, stride) in maps
        ]
        self.head_drop = nn.Dropout(drop_rate)
        self.to(dtype=dtype)
        self.reset_classifier(num_classes, global_pool)
        hook: Any = self.register_load_state_dict_pre_hook  # which has no types
        hook(rename)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of the parameters' names, in the order of the layers, for rates that fall towards the stem."""
        fine = [
            (r"^backbone\.stages\.([02])\.(\d+)", None),
            (r"^backbone\.stages\.(1)\.(\d+)\.(\d+)", None),  # two mechanisms, of four layers each
            (r"^backbone\.stages\.(3)\.", None),
        ]
        return {"stem": r"^backbone\.stem", "blocks": r"^backbone\.stages\.(\d+)" if coarse else fine}

    def no_weight_decay(self) -> set[str]:
        """The Co-Biases, which are offsets. timm leaves out biases and norms by itself."""
        return {f"{name}.bias" for name, layer in self.named_modules() if isinstance(layer, CoBias)}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute what is inside of each stage again in the backward pass instead of keeping it."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new, untrained classifier in place of the old one.

        Args:
            num_classes: Width of the logits; 0 for no classifier.
            global_pool: None to leave it as it is.
        """
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in POOLS:
            raise ValueError(f"global_pool must be one of {POOLS}, got {pool!r}")
        if num_classes and not pool:
            raise ValueError(f"global_pool='' leaves a map, which cannot be told into {num_classes} classes; use 'avg'")
        self.num_classes, self.global_pool = num_classes, pool
        like = next(self.backbone.parameters())
        head = nn.Linear(self.num_features, num_classes, device=like.device) if num_classes else nn.Identity()
        init_weights(head, "head")
        self.head = head.to(dtype=like.dtype).train(self.training)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last map and those of some stages.

        Args:
            x: Images.
            indices: Of stages, also from the end; a number n for the last n, None for all.
            norm: Without effect: no norm follows the last stage.
            stop_early: Leave out the stages behind the last one asked for; the last map is then that one's.
            output_fmt: ``"NCHW"``, as maps are laid out.
            intermediates_only: Return the maps of ``indices`` alone.
        """
        assert output_fmt == "NCHW", "maps are NCHW"
        check_size(*x.shape[-2:])
        taps, maps = taken(indices, len(self.backbone.stages)), []
        x = self.backbone.stem(x)
        for i, stage in enumerate(self.backbone.stages[: max(taps) + 1 if stop_early else None]):
            x = recomputed(stage, x) if self.grad_checkpointing else stage(x)
            if i in taps:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages behind the last one of ``indices``, and the classifier; returns the indices from the start.

        Args:
            indices: As in ``forward_intermediates``.
            prune_norm: Without effect, as there.
            prune_head: False keeps the classifier if all of the stages stay.
        """
        count = len(self.backbone.stages)
        taps = taken(indices, count)
        self.backbone.keep(max(taps) + 1)
        self.num_features = self.head_hidden_size = self.backbone.channels[-1]
        if prune_head or max(taps) + 1 < count:
            self.reset_classifier(0, "")
        return taps

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map (B, num_features, H / 32, W / 32)."""
        return self.forward_intermediates(x, indices=1)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of a last map; with ``pre_logits``, the embedding (B, num_features) that they are made from."""
        if self.global_pool:
            x = x.mean(dim=(2, 3))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def first_conv(in_chans: int, out_channels: int) -> nn.Conv2d:
    """The first convolution, for images of other channels than three."""
    conv = nn.Conv2d(in_chans, out_channels, 3, 2, padding=1, bias=False)
    init_weights(conv, "backbone.stem.0.0")
    return conv
