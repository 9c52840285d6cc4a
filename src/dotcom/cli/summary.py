"""``dotcom summary``: stages, shapes, strides, parameters and MACs."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dotcom.config import register_resolvers
from dotcom.errors import CONF, UsageError, flat
from dotcom.inference.saved_run import saved_run

if TYPE_CHECKING:
    from rich.table import Table

    from dotcom.inference.stages import Stage

TASKS = {"classification": ("images", 1000), "detection": ("boxes", 80), "segmentation": ("masks", 21)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="dotcom_tiny or another file of conf/model, timm:NAME, or a checkpoint of a run",
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="side of the image (default: as usual for the task, or as in the run)"
    )
    parser.add_argument("--classes", type=int, metavar="K", help="default: 1000, 80 or 21, by task")
    parser.add_argument("--task", choices=TASKS, default="classification")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Build the network, run it once on an empty image, and print what was counted."""
    for option, value in (("size", arguments.size), ("classes", arguments.classes)):
        if value is not None and value < 1:
            raise UsageError(f"--{option}={value}: expected a number above 0")
    model, size = described(arguments)

    from dotcom.inference.stages import stages
    from dotcom.models.checkpoint import from_config
    from dotcom.text import make_console

    network: Any = from_config(model, arguments.model)
    fixed = getattr(network.backbone, "fixed_size", None)  # of a network made for images of one size
    size = fixed[0] if fixed else size
    try:
        found = stages(network, size)
    except RuntimeError as error:  # of timm, somewhere inside
        raise UsageError(f"--size={size}: {arguments.model} cannot take it ({flat(str(error))})") from None
    if arguments.json:
        print(json.dumps({"model": arguments.model, "image_size": size, "stages": [asdict(stage) for stage in found]}))
        return 0
    console = make_console()
    console.print(f"{arguments.model}, one image of {size}x{size}", soft_wrap=True)
    console.print(table(found))
    convolutions = found[-1].macs["convolution"] / 1e6
    note = f"convolutions alone: {convolutions:,.1f} M, which is what the original's README calls FLOPs"
    console.print(note, soft_wrap=True)
    return 0


def described(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """``task.model`` of a configuration as plain values, and the side of the image."""
    name = arguments.model
    if name.endswith(".ckpt") or Path(name).is_file():
        saved = saved_run(Path(name))
        if arguments.classes:
            raise UsageError(f"--classes={arguments.classes}: the checkpoint has {len(saved.classes)} already")
        return saved.config["task"]["model"], arguments.size or int(saved.config["image_size"])
    if not CONF.is_dir():
        raise UsageError(f"{name}: no such file; names need a checkout of dotcom, whose conf/model has them")
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    data, classes = TASKS[arguments.task]
    kind, _, peer = name.partition("timm:")
    chosen = [f"model={name}"] if not peer or kind else ["model=timm", f"name={peer}"]
    size = [f"image_size={arguments.size}"] if arguments.size else []
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = [*chosen, f"data={data}", f"data.num_classes={arguments.classes or classes}", *size]
        cfg = compose("config", given)
    model = cast(dict[str, Any], OmegaConf.to_container(cfg.task.model, resolve=True))
    if "name" in model["backbone"] and not arguments.size:
        model["backbone"]["image_size"] = None  # as published, if it is made for one size
    return model, int(cfg.image_size)


def table(found: "list[Stage]") -> "Table":
    """One row per stage, the whole below a line."""
    from rich.table import Table

    shown = Table()
    shown.add_column("stage")
    for heading in ("output", "stride", "parameters", "M MACs", "with attention"):
        shown.add_column(heading, justify="right")
    for stage in found:
        if stage is found[-1]:
            shown.add_section()
        shown.add_row(
            stage.name or "total",
            "x".join(map(str, stage.shape)) if stage.shape else "",
            str(stage.stride or ""),
            f"{stage.parameters:,}",
            f"{stage.layers / 1e6:,.1f}",
            f"{stage.all / 1e6:,.1f}",
        )
    return shown
