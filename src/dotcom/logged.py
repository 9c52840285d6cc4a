"""Names of what is logged beside the metrics of a task; in one place, without torch, for those who draw it later."""

import re
from collections.abc import Mapping
from typing import Any

GRADIENTS = "grad_norm/"
CONFUSION = "val/confusion"
CONFUSION_TABLE = f"{CONFUSION}_table"  # under which W&B keeps the numbers of the chart
MOST_CLASSES = 100  # of a confusion matrix: W&B keeps 10,000 cells of a table

# by their paths in the backbone: of every network of ours, and of every DoTCoM
STAGES = ("stem", "stages.0", "stages.1", "stages.2", "stages.3")
DOT_BLOCKS = ("stages.1.0.2", "stages.1.1.2", "stages.2.2")
SITES = {"bias_in": (True, "first"), "bias_out": (True, "second")}  # of Co-Bias in a DoT block, and the arms with it


def due(trainer: Any) -> bool:
    """Whether the step that a Lightning trainer is in is one of those that it logs.

    In these, numbers are read from the device, which waits for Python meanwhile; in no others.
    """
    return bool(trainer._logger_connector.should_update_logs)  # what Lightning itself asks


def gradient_norm(parameter: str) -> str:
    """``grad_norm/stages.1`` from ``backbone.stages.1.0.2.bias_in.bias``, a name in the whole network.

    One for each stage of a network of ours, ``grad_norm/backbone`` for those of timm, ``grad_norm/head`` for the rest.
    """
    part = re.match(r"backbone\.(stem|stages\.\d+)\.", parameter)
    return f"{GRADIENTS}{part[1] if part else 'backbone' if parameter.startswith('backbone.') else 'head'}"


def co_bias(block: str, site: str) -> str:
    """The parameters of ``bias_in`` or ``bias_out``, as a histogram."""
    return f"co_bias/{block}/{site}"


def activations(block: str, side: str) -> str:
    """The values ``before`` or ``after`` the first Co-Bias, as a histogram."""
    return f"activations/{block}/{side}"


def names(config: Mapping[str, Any]) -> list[str]:
    """All names of this module that a run leaves in the history of W&B.

    Args:
        config: The configuration of the run.
    """
    task, model = config["task"]["_target_"].rpartition(".")[2], config["model"]
    stages = STAGES[:-1] if config.get("head") == "mobilevit" else STAGES  # that head does without the last one
    found = [f"{GRADIENTS}{part}" for part in (*(("backbone",) if "name" in model else stages), "head")]
    if "co_bias" in model:
        sites = [site for site, arms in SITES.items() if model["co_bias"] in arms]
        found += [co_bias(block, site) for block in DOT_BLOCKS for site in sites]
        if "bias_in" in sites:
            found += [activations(block, side) for block in DOT_BLOCKS for side in ("before", "after")]
    if task != "Detection" and config["data"]["num_classes"] <= MOST_CLASSES:
        found.append(CONFUSION_TABLE)
    return found
