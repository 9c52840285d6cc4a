"""What happens around the training steps: files written whole, progress, speed, pictures."""

from dotcom.callbacks.checkpoint import WholeFiles
from dotcom.callbacks.pictures import PredictionGrid
from dotcom.callbacks.progress import Progress
from dotcom.callbacks.throughput import Throughput

__all__ = ["PredictionGrid", "Progress", "Throughput", "WholeFiles"]
