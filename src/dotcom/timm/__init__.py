"""``import dotcom.timm`` adds ``dotcom_tiny``, ``dotcom_small``, ``dotcom_base`` and ``dotcom_large`` to timm."""

from typing import Any

try:
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
except ImportError:
    raise ImportError("dotcom.timm needs timm: pip install 'dotcom[timm]'") from None

from dotcom.models.dotcom import VARIANTS, Variant
from dotcom.timm.names import checkpoint_filter_fn
from dotcom.timm.network import TimmDoTCoM

CFG = {
    "num_classes": 1000,
    "input_size": (3, 256, 256),
    "pool_size": (8, 8),
    "crop_pct": 0.888,  # 256 of 288 pixels, as published; timm divides and rounds down, which 256 / 288 itself misses
    "interpolation": "bilinear",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "first_conv": "backbone.stem.0.0",
    "classifier": "head",
    "license": "mit",
    "origin_url": "https://github.com/EmPasLab/DoTCoM",
}
default_cfgs = generate_default_cfgs({f"dotcom_{variant}.untrained": CFG for variant in VARIANTS})


def _create(variant: Variant, pretrained: bool, options: dict[str, Any]) -> Any:
    """A network, or with ``features_only=True`` what returns its maps as a list."""
    taps = options.pop("out_indices", (0, 1, 2, 3))
    return build_model_with_cfg(
        TimmDoTCoM,
        f"dotcom_{variant}",
        pretrained,
        model_cfg=VARIANTS[variant],
        pretrained_filter_fn=checkpoint_filter_fn,
        # its stages lie inside of the backbone, where timm's other extractors do not look for modules to move
        feature_cfg={"out_indices": taps, "feature_cls": "getter", "no_rewrite": True},
        **options,
    )


@register_model
def dotcom_tiny(pretrained: bool = False, **options: Any) -> Any:
    """1.73 million parameters; options as in ``TimmDoTCoM``."""
    return _create("tiny", pretrained, options)


@register_model
def dotcom_small(pretrained: bool = False, **options: Any) -> Any:
    """2.87 million parameters; options as in ``TimmDoTCoM``."""
    return _create("small", pretrained, options)


@register_model
def dotcom_base(pretrained: bool = False, **options: Any) -> Any:
    """5.90 million parameters; options as in ``TimmDoTCoM``."""
    return _create("base", pretrained, options)


@register_model
def dotcom_large(pretrained: bool = False, **options: Any) -> Any:
    """11.17 million parameters; options as in ``TimmDoTCoM``."""
    return _create("large", pretrained, options)
