"""Values that are out of reach, found before anything is built: lists, devices, memory, what the data contradict.

Nothing here imports torch.
"""

import math
import os
from collections.abc import Callable, Container, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dotcom.allowed import UNTYPED
from dotcom.errors import UsageError, spelled
from dotcom.hardware import cores
from dotcom.hints import arguments_of
from dotcom.recipe import whole

FILES = ("weights", "ckpt_path", "teacher")
TEXT = ("name", "sweep", "run_name", "output_dir", "hardware.strategy", "model.variant")


class AllKeys:
    """Holds every key."""

    def __contains__(self, key: object) -> bool:
        return True


ALL_KEYS: Container[str] = AllKeys()


def number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def rising(value: Any, largest: float) -> bool:
    """Whether a value is a list of two rising numbers above 0."""
    pair = isinstance(value, list) and len(value) == 2 and all(map(number, value))
    return pair and 0 < value[0] < value[1] <= largest


def fractions(value: Any) -> bool:
    """Whether a value is a list of two numbers from 0 to below 1."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(number(n) and 0 <= n < 1 for n in value)


def channels(value: Any, above: float) -> bool:
    """Whether a value is a list of three numbers above another."""
    return isinstance(value, list) and len(value) == 3 and all(number(n) and n > above for n in value)


def widths(value: Any) -> bool:
    """Whether a value is a list of even whole numbers."""
    return isinstance(value, list) and all(whole(n) and 2 <= n <= 8192 and n % 2 == 0 for n in value)


def devices(value: Any) -> bool:
    """Whether Lightning can take a value for the devices of a machine."""
    listed = isinstance(value, list) and bool(value) and all(whole(n) and n >= 0 for n in value)
    if listed:
        return len(set(value)) == len(value)
    return value in ("auto", "-1") or (whole(value) and (value == -1 or 0 < value <= 1024))


def places(value: Any) -> bool:
    """Whether a value says how many jobs of a sweep run at a time, or on which devices."""
    named = isinstance(value, list) and bool(value)
    if named:
        return all(device == "cpu" or device.removeprefix("cuda:").isdigit() for device in map(str, value))
    return whole(value) and 0 < value <= 1024


def batches(value: Any) -> bool:
    """Whether a value limits an epoch: a fraction of it, or a number of batches."""
    return (isinstance(value, float) and 0 <= value <= 1) or (whole(value) and value >= 0)


LISTS: dict[str, tuple[Callable[[Any], bool], str]] = {  # the test, and what is expected in words
    "anchor_scales": (lambda value: rising(value, 2), "two rising numbers above 0, up to 2, such as [0.2,0.95]"),
    "extra_channels": (widths, "even numbers from 2 to 8192, such as [512,256,256,128]"),
    "data.train_transform.scale": (lambda value: rising(value, 16), "two rising numbers above 0, up to 16"),
    "data.mean": (
        lambda value: channels(value, -math.inf),
        "three numbers, one for each channel, such as [0.5,0.5,0.5]",
    ),
    "data.std": (
        lambda value: channels(value, 0),
        "three numbers above 0, one for each channel, such as [0.5,0.5,0.5]",
    ),
    "optimizer.betas": (fractions, "two numbers from 0 to below 1, such as [0.9,0.999]"),
    "hardware.devices": (devices, "auto, a number from 1 on, or a list of different ones from 0 on, such as [0,1]"),
    "slots": (places, "a number from 1 on, or devices: [cuda:0,cuda:1]"),
    "arms": (lambda value: isinstance(value, list), "a list"),
} | {
    f"trainer.{name}": (batches, "a fraction of the batches from 0.0 to 1.0, or a whole number of them")
    for name in ("limit_train_batches", "limit_val_batches", "overfit_batches")
}


def check_values(cfg: DictConfig, defaults: DictConfig) -> None:
    """Every number is finite, and every list, text and group is one, before anything is computed from them.

    Raises:
        UsageError: One line that names the key, what was expected, and an example.
    """
    check_entries(cfg, defaults)
    check_lists(cfg, defaults)


def check_entries(cfg: DictConfig, defaults: DictConfig) -> None:
    """Every number of ``cfg`` is finite, and every list, text and group is of the kind that ``defaults`` have there."""
    for key, value in entries(cfg):
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{key}={value}: expected a finite number")
        if isinstance(value, ListConfig) and any(isinstance(n, float) and not math.isfinite(n) for n in value):
            raise UsageError(f"{key}={spelled(value)}: expected finite numbers")
        usual = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)
        check_kind(key, value, usual)


def check_lists(cfg: DictConfig, defaults: DictConfig, keys: Container[str] = ALL_KEYS) -> None:
    """What stands at those of ``keys`` that take a list is one that can be used."""
    for key, (fits, expected) in ((key, limits) for key, limits in LISTS.items() if key in keys):
        value = OmegaConf.select(cfg, key)
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        needed = key in ("anchor_scales", "extra_channels", "data.train_transform.scale", "hardware.devices", "slots")
        there = OmegaConf.select(defaults, key) is not None
        if (plain is not None or (needed and there)) and not fits(plain):
            raise UsageError(f"{key}={spelled(plain)}: expected {expected}")


def check_kind(key: str, value: Any, usual: Any) -> None:
    """A group stays a group, a text a text, a list a list, and what names a file can be a name."""
    if isinstance(usual, DictConfig) and not isinstance(value, DictConfig):
        if not (value is None and key.startswith(("callbacks.", "logger."))):  # null switches it off
            first = str(next(iter(usual)))
            raise UsageError(f"{key}={spelled(value)}: expected settings of its own, such as {key}.{first}=")
    elif isinstance(value, DictConfig) and usual is not None and not isinstance(usual, DictConfig):
        raise UsageError(f"{key}: expected one value, such as {spelled(usual)}")
    elif isinstance(usual, ListConfig) and key not in LISTS and key != "checkpointing":
        if not isinstance(value, ListConfig):
            raise UsageError(f"{key}={spelled(value)}: expected a list")
    elif key in FILES or key.endswith(".root") or (key == "data.root"):
        if not (value is None or (isinstance(value, (str, int)) and not isinstance(value, bool) and value)):
            raise UsageError(f"{key}={spelled(value)}: expected a path, or null")
    elif (
        key not in UNTYPED and (key in TEXT or isinstance(usual, str)) and not isinstance(value, str) and value != usual
    ):
        raise UsageError(f"{key}={spelled(value)}: expected text; quote a number, as in '{key}=\"5\"'")


def entries(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with what stands there, groups and lists included; what is not settled is left out."""
    for name in map(str, node):
        if OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name):
            continue
        yield f"{prefix}{name}", node[name]
        if isinstance(node[name], DictConfig):
            yield from entries(node[name], f"{prefix}{name}.")


def check_reach(cfg: DictConfig, defaults: DictConfig, config: dict[str, Any]) -> None:
    """The settings together can be trained on this machine, and the data do not contradict them.

    Raises:
        UsageError: One line that names the key, what was expected and what to do.
    """
    data = config["data"]
    check_classes(cfg, defaults, data)
    check_class_weights(config.get("class_weights"), data["num_classes"])
    optimizer = config["optimizer"]
    if optimizer.get("nesterov") and not optimizer.get("momentum"):
        raise UsageError("optimizer.momentum=0: expected optimizer.nesterov=false with it, or a number above 0")
    check_workers(data["num_workers"])
    sizes = [config["image_size"], *(config["multi_scale"] or [])]
    for key, side in (("batch_size", max(sizes)), ("val_batch_size", config["image_size"])):
        check_memory(key, data.get(key) or 0, side)
    smallest = min([*sizes, config["progressive"] or sizes[0]])
    if data["batch_size"] == 1 and smallest <= 32:
        raise UsageError(
            f"data.batch_size=1: with images of {smallest} pixels, batch norm would see one value; expected 2 or more, "
            "or image_size=64"
        )
    check_cut(data)


def check_workers(count: int) -> None:
    """Raise UsageError for more loader processes than a machine can run."""
    most = max(64, 4 * cores())
    if count > most:
        raise UsageError(f"data.num_workers={count}: expected up to {most} on this machine")


def check_cut(data: dict[str, Any]) -> None:
    """Raise UsageError if an image becomes smaller than what is cut out of it."""
    resize, side = (data["val_transform"].get(key) for key in ("resize", "image_size"))
    if resize is not None and side is not None and resize < side:
        raise UsageError(f"data.val_transform.resize={resize}: expected {side} or more, the side of what is cut out")


def check_memory(key: str, images: int, side: int) -> None:
    """Raise UsageError if one batch of images alone is more than this machine can hold."""
    needed, there = images * 3 * side**2 * 4, memory()
    if there and needed > there:
        gigabytes = f"one batch takes {needed / 1e9:,.0f} GB, this machine has {there / 1e9:,.0f}"
        raise UsageError(
            f"data.{key}={images} with images of {side} pixels: {gigabytes}; expected fewer or smaller ones"
        )


def memory() -> int:
    """Bytes of this machine; 0 where the system does not say."""
    names: Any = getattr(os, "sysconf_names", {})
    known = "SC_PAGE_SIZE" in names and "SC_PHYS_PAGES" in names
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 0


def check_class_weights(weights: Any, classes: int) -> None:
    """Raise UsageError unless there is a weight for each class, none below 0 and some above."""
    if weights is None:
        return
    right = isinstance(weights, list) and len(weights) == classes and all(number(n) and n >= 0 for n in weights)
    if not (right and any(weights)):
        expected = f"expected {classes} numbers from 0 on, one for each class, some above 0"
        raise UsageError(f"class_weights={spelled(weights)}: {expected}")


def check_classes(cfg: DictConfig, defaults: DictConfig, data: dict[str, Any]) -> None:
    """The number of classes is that of the data, where these alone decide; and only data with a folder get one."""
    source = str(data["dataset"]["_target_"])
    taken = arguments_of(source) if data.get("root") is not None and defaults.data.root is None else None
    if taken and "root" not in taken:
        raise UsageError(f"data.root={data['root']}: {source} comes with the package; data=image_folder reads your own")
    stated, found = (one.data._get_node("num_classes") for one in (cfg, defaults))  # unresolved
    if stated == found or "num_classes" in data["dataset"]:  # masks may lack classes that there are
        return
    there = OmegaConf.merge(cfg, {"data": {"num_classes": found._value()}}).data.num_classes
    if data["num_classes"] != there:
        raise UsageError(f"data.num_classes={data['num_classes']}: these data have {there} classes; leave it out")
