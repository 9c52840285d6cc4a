"""A checkpoint's classes beside those of other data: matched by name, and the network's answers in their order."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dotcom.errors import UsageError, did_you_mean, listed
from dotcom.inference.saved_run import numbered
from dotcom.models import Detector


def match_classes(known: Sequence[str], present: Sequence[str]) -> list[int]:
    """For each class of the data, the index of the checkpoint's class of the same name.

    Args:
        known: Names of the checkpoint's classes, in the order of its outputs; numbered ones are those of the data, if
            there are as many.
        present: Names of the data's classes, in the order of their labels.

    Raises:
        UsageError: Naming the classes of the data that the checkpoint does not know. They could only be scored as
            wrong, which would say nothing about the network.
    """
    if list(known) == numbered(len(present)):  # a checkpoint that names none
        return list(range(len(present)))
    if strange := [name for name in present if name not in known]:
        hint = did_you_mean(strange[0], known)
        raise UsageError(
            f"data: the checkpoint does not know {len(strange)} of their {len(present)} classes: {listed(strange)}"
            f"{hint}; it knows {listed(known)}; leave them out of the data, or rename them"
        )
    return [list(known).index(name) for name in present]


def answer_in_order(network: nn.Module, order: Sequence[int]) -> None:
    """Let a network answer with these of its classes alone, in this order; its weights stay as they are.

    A classifier and a segmenter choose among these classes; a detector finds objects of these.

    Args:
        network: A ``Classifier``, ``Detector`` or ``Segmenter``; its outputs change from now on.
        order: Indices of its classes.
    """
    chosen = [0, *(label + 1 for label in order)] if isinstance(network, Detector) else list(order)
    columns = torch.tensor(chosen)

    def choose(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        if isinstance(outputs, dict):  # of a detector: background, then its classes, last
            logits = outputs["cls_logits"]
            return outputs | {"cls_logits": logits.index_select(-1, columns.to(logits.device))}
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        assert isinstance(logits, Tensor)
        return logits.index_select(1, columns.to(logits.device))

    network.register_forward_hook(choose)
