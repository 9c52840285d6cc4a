"""Networks. Plain PyTorch: nothing here imports Lightning, Hydra or a logger."""

from dotcom.models.checkpoint import from_checkpoint
from dotcom.models.classifier import Classifier
from dotcom.models.detector import Detector
from dotcom.models.dotcom import DoTCoM, DoTCoMConfig
from dotcom.models.edgevit import EdgeViT, EdgeViTConfig
from dotcom.models.fat import FAT, FATConfig
from dotcom.models.segmenter import Segmenter
from dotcom.models.teacher import Teacher, read_teacher
from dotcom.models.timm import TimmBackbone
from dotcom.models.weights import load_weights

__all__ = [
    "FAT",
    "Classifier",
    "Detector",
    "DoTCoM",
    "DoTCoMConfig",
    "EdgeViT",
    "EdgeViTConfig",
    "FATConfig",
    "Segmenter",
    "Teacher",
    "TimmBackbone",
    "from_checkpoint",
    "load_weights",
    "read_teacher",
]
