"""Networks. Plain PyTorch: nothing here imports Lightning, Hydra or a logger."""

from dotcom.models.checkpoint import from_checkpoint
from dotcom.models.classifier import Classifier
from dotcom.models.dotcom import DoTCoM, DoTCoMConfig
from dotcom.models.weights import load_weights

__all__ = ["Classifier", "DoTCoM", "DoTCoMConfig", "from_checkpoint", "load_weights"]
