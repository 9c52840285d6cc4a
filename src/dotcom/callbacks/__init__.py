"""What happens around the training steps: files written whole, progress, speed, pictures, a frozen backbone."""

from dotcom.callbacks.average import AverageBest
from dotcom.callbacks.checkpoint import WholeFiles
from dotcom.callbacks.companions import Companions
from dotcom.callbacks.confusion import ConfusionMatrix
from dotcom.callbacks.counted import EvaluatedImages
from dotcom.callbacks.finite import FiniteLoss
from dotcom.callbacks.freeze import FrozenBackbone
from dotcom.callbacks.gradients import GradientNorms
from dotcom.callbacks.histograms import CoBiasHistograms
from dotcom.callbacks.last import LastCheckpoint
from dotcom.callbacks.norms import SyncedBatchNorms
from dotcom.callbacks.once import OneEpoch
from dotcom.callbacks.overlays import BoxGrid, MaskGrid
from dotcom.callbacks.pictures import PredictionGrid
from dotcom.callbacks.progress import Progress
from dotcom.callbacks.results import CocoResults
from dotcom.callbacks.throughput import Throughput

__all__ = [
    "AverageBest",
    "BoxGrid",
    "CoBiasHistograms",
    "CocoResults",
    "Companions",
    "ConfusionMatrix",
    "EvaluatedImages",
    "FiniteLoss",
    "FrozenBackbone",
    "GradientNorms",
    "LastCheckpoint",
    "MaskGrid",
    "OneEpoch",
    "PredictionGrid",
    "Progress",
    "SyncedBatchNorms",
    "Throughput",
    "WholeFiles",
]
