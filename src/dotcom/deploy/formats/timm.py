"""A folder that timm loads: the trained network itself, as ``model.safetensors``, and ``config.json``.

Unlike the other formats it is not fixed to one size or batch and nothing in it is fused, so that it can be trained on.
"""

from collections.abc import Mapping
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotcom.deploy.formats import Array, Runner, named, require
from dotcom.errors import UsageError
from dotcom.inference.saved_run import SavedRun

if TYPE_CHECKING:
    from torch import nn

    from dotcom.models import Classifier

SUFFIX = ".timm"
EXTRA = "timm"
MODULES = ("timm", "safetensors")
RUNTIME = ("timm", "safetensors")
FAMILIES = ("dotcom.models.DoTCoM.from_variant", "dotcom.models.TimmBackbone")


def suits(run: SavedRun) -> None:
    """Raise UsageError unless timm knows networks like that of a run."""
    if run.task != "Classification":
        raise UsageError(f"--to timm: {run.path} is of {run.task}, and timm classifies; expected a classifier's")
    if (target := run.config["task"]["model"]["backbone"]["_target_"]) not in FAMILIES:
        family = target.removeprefix("dotcom.models.").partition(".")[0]
        raise UsageError(f"--to timm: {run.path} is of {family}, which timm lacks; expected DoTCoM or model=timm")


def write(network: "Classifier", run: SavedRun, preprocessing: Mapping[str, Any], path: Path) -> None:
    """Write the folder.

    Args:
        network: With the weights.
        run: Whose network it is.
        preprocessing: As on the card.
        path: The folder, which is made.
    """
    require("timm", MODULES, EXTRA)
    from timm.models import save_for_hf

    size, resize = preprocessing["size"], preprocessing["resize"]
    share = size / resize  # timm divides by it and rounds down, which must give the same pixels
    data = {
        "input_size": (3, size, size),
        "crop_pct": share if floor(size / share) == resize else size / (resize + 0.5),
        "interpolation": preprocessing["interpolation"].partition(",")[0],
        "mean": tuple(preprocessing["mean"]),
        "std": tuple(preprocessing["std"]),
    }
    network_of_timm = created(network, run.config["task"]["model"]["backbone"])
    mine = {"license": None, "tag": None, "url": None}  # what timm says of weights holds for its own
    config = {"label_names": list(run.classes), "pretrained_cfg": mine}
    save_for_hf(network_of_timm, str(path), model_config=config, data_config=data, safe_serialization=True)
    weights, config_file = path / "model.safetensors", path / "config.json"
    weights.chmod(config_file.stat().st_mode)  # safetensors would keep it from everyone but the owner


def created(network: "Classifier", backbone: Mapping[str, Any]) -> "nn.Module":
    """The network as timm makes it, with the weights of ours."""
    import timm

    import dotcom.timm  # noqa: F401 - makes the names of ours known
    from dotcom.models import TimmBackbone

    make: Any = timm.create_model
    classes = network.head.out_features
    if isinstance(ours := network.backbone, TimmBackbone):
        made: nn.Module = make(ours.name, num_classes=classes, **ours.options)
        made.load_state_dict({**ours.network.state_dict(), **classifiers(made, network.head)})
        return made
    options = {key: backbone[key] for key in ("block", "co_bias")}
    made = make(f"dotcom_{backbone['variant']}", num_classes=classes, **options)
    made.load_state_dict(network.state_dict())
    return made


def classifiers(network: Any, head: "nn.Linear") -> dict[str, Any]:
    """Weights for timm's one or two linear layers, from the one that stands for them.

    The mean of two is taken: of a distilled network both read the embedding, and of one with two branches each reads
    its own part, in whose place ours reads both parts side by side.
    """
    names = network.default_cfg["classifier"]
    paths = [names] if isinstance(names, str) else list(names)
    widths = [network.get_submodule(path).in_features for path in paths]
    weight: Any = head.weight.detach()
    parts = [weight] * len(paths)
    if len(paths) > 1 and sum(widths) == head.in_features:
        parts = [part * len(paths) for part in weight.split(widths, dim=1)]
    found = {f"{path}.weight": part for path, part in zip(paths, parts, strict=True)}
    return found | {f"{path}.bias": head.bias.detach() for path in paths}


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a folder.

    Args:
        path: A folder from ``write``.
        threads: Of this process from now on; default: as it is.
    """
    require("timm", RUNTIME, EXTRA)
    import timm
    import torch

    import dotcom.timm  # noqa: F401 - makes the names of ours known

    if threads:
        torch.set_num_threads(threads)
    network = timm.create_model(f"local-dir:{path}", pretrained=True).eval()

    @torch.inference_mode()
    def run(images: Array) -> dict[str, Array]:
        return named([network(torch.from_numpy(images)).numpy()])

    return run
