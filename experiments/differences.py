"""In which settings runs differ, and which of these differences the sweep meant.

Meant is what follows from the arm and the seed: a swept key, what lies below a swept group (``model.variant`` of
``model=dotcom_tiny,dotcom_small``), and its copies, that is settings of the same last name that equal it in every run
(``task.model.backbone.variant``, ``data.seed``). Everything else makes the runs incomparable.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.records import Run

from dotcom.errors import listed, spelled
from dotcom.fingerprint import scientific

FACTORS = {  # settings that are left out of the scientific ones or follow from several, and what each follows from
    "monitor": ("monitor", "ema"),
    "precision": ("precision", "hardware.precision"),
    "effective_batch": ("data.batch_size", "accumulate", "hardware.devices", "hardware.num_nodes"),
}
UNSET = "unset"


@dataclass(frozen=True)
class Difference:
    """One setting that is not the same in all runs.

    Args:
        key: Its dotted name, or ``effective_batch``: images per optimiser step, over all devices.
        values: As on the command line, each with the runs that have it.
        swept: Whether it follows from the arm and the seed.
    """

    key: str
    values: dict[str, list[Run]]
    swept: bool

    def __str__(self) -> str:
        """``data.batch_size: 32 in 11 runs; 64 in co_bias-true__seed-3__3fa9c1d2``."""
        return f"{self.key}: {where(self.values)}"


def differences(runs: Sequence[Run], keys: Sequence[str]) -> list[Difference]:
    """All settings that differ, in alphabetical order.

    Args:
        runs: To be compared.
        keys: What was swept, without the seed.
    """
    tables = [settings(run) for run in runs]
    names = sorted({name for table in tables for name in table})
    columns = {name: [identity(table.get(name, UNSET)) for table in tables] for name in names}
    varying = {name: column for name, column in columns.items() if len(set(column)) > 1}
    arms = [tuple(map(run.setting, keys)) for run in runs]
    seeds = [identity(run.seed) for run in runs]
    meant = {(last(name), tuple(column)) for name, column in varying.items() if any(covers(key, name) for key in keys)}

    def follows(name: str, column: list[str]) -> bool:
        if last(name) == "seed" and column == seeds:
            return True
        constant = len(set(zip(arms, column, strict=True))) == len(set(arms))  # within every arm
        from_factors = any(covers(key, factor) for key in keys for factor in FACTORS.get(name, ()))
        broad = not {"experiment", "data", "task"}.isdisjoint(keys)  # groups that set many keys
        return constant and (broad or from_factors or (last(name), tuple(column)) in meant)

    return [
        Difference(name, by_value([table.get(name, UNSET) for table in tables], runs), follows(name, column))
        for name, column in varying.items()
    ]


def settings(run: Run) -> dict[str, Any]:
    """The scientific settings, the precision, and the images per optimiser step."""
    config = run.config
    hardware, data = config.get("hardware", {}), config.get("data", {})
    devices, nodes = hardware.get("devices", 1), hardware.get("num_nodes", 1)
    images = (data.get("batch_size") or 0) * (config.get("accumulate") or 1) * nodes
    devices = len(devices) if isinstance(devices, list) else devices
    batch = devices * images if isinstance(devices, int) and devices > 0 else f"{devices} x {images}"
    precision = config.get("precision", hardware.get("precision"))
    path = config.get("ckpt_path")  # resumed in its own folder, a run is what it was
    began = None if not path or Path(path).parent == Path(config["output_dir"]) else path
    around = {"precision": precision, "effective_batch": batch, "ckpt_path": began, "callbacks": foreign(config)}
    return scientific(config) | around


def foreign(config: Mapping[str, Any]) -> list[str]:
    """Callbacks that are not ours, such as EarlyStopping: they can steer a training."""
    targets = [part["_target_"] for part in config.get("callbacks", {}).values() if part]
    return sorted(target for target in targets if not target.startswith("dotcom."))


def circumstances(runs: Sequence[Run]) -> list[str]:
    """Sentences on what differs around the configuration: no reason to refuse, but to be told."""
    facts = {
        "commit": [run.commit or "unknown" for run in runs],
        **{name: [run.versions.get(name, "unknown") for run in runs] for name in ("dotcom", "torch", "lightning")},
        **{
            key: [run.setting(key) for run in runs]
            for key in ("data.root", "hardware.accelerator", "channels_last", "compile")
        },
    }
    tables = {name: by_value(values, runs) for name, values in facts.items()}
    return [f"not the same {name}: {where(table)}" for name, table in tables.items() if len(table) > 1]


def by_value(values: Sequence[Any], runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each value."""
    table: dict[str, list[Run]] = {}
    for value, run in zip(values, runs, strict=True):
        table.setdefault(spelled(value), []).append(run)
    return table


def where(table: dict[str, list[Run]]) -> str:
    """``32 in 11 runs; 64 in co_bias-true__seed-3__3fa9c1d2``."""
    most = max(map(len, table.values()))

    def named(runs: list[Run]) -> str:
        return f"{len(runs)} runs" if 1 < len(runs) == most else listed([run.folder.name for run in runs], 3)

    return "; ".join(f"{value} in {named(runs)}" for value, runs in table.items())


def covers(key: str, name: str) -> bool:
    """Whether the setting is the key or lies below it."""
    return name == key or name.startswith(f"{key}.")


def last(name: str) -> str:
    """The part after the last dot."""
    return name.rpartition(".")[2]


def identity(value: Any) -> str:
    """Equal for equal values only, and hashable."""
    return json.dumps(value, sort_keys=True)
