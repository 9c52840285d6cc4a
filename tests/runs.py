"""How the tests of the tasks train and validate: on the CPU, quietly, keeping nothing."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch

ADAMW = partial(torch.optim.AdamW, lr=1e-2, fused=True)


def trainer(tmp_path: Path, **settings: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    once = {"enable_checkpointing": False, "max_epochs": 1, "num_sanity_val_steps": 0}
    return L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet | once | settings)
