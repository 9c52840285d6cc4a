"""The launcher behind ``python train.py -m``: one process per job, and a sweep that survives.

Hydra's side only: it takes the grid from Hydra's sweeper and hands it to ``dotcom.sweep``.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.progress import track

from dotcom.errors import UsageError
from dotcom.text import make_console


@dataclass
class DotcomLauncherConf:
    """What ``hydra/launcher=dotcom`` means."""

    _target_: str = "hydra_plugins.dotcom_launcher.DotcomLauncher"


@dataclass
class DotcomSweeperConf(basic_sweeper.BasicSweeperConf):
    """What ``hydra/sweeper=dotcom`` means."""

    _target_: str = "hydra_plugins.dotcom_launcher.DotcomSweeper"


ConfigStore.instance().store(group="hydra/launcher", name="dotcom", node=DotcomLauncherConf, provider="dotcom")
ConfigStore.instance().store(group="hydra/sweeper", name="dotcom", node=DotcomSweeperConf, provider="dotcom")

OF_THE_SWEEP = ("hydra.mode", "hydra.run.", "hydra.sweep", "hydra.launcher.", "hydra/launcher", "hydra/sweeper")
GRIDS = ("BasicSweeper", "DotcomSweeper")
LONG = 10  # jobs whose check takes so long that one wants to see it go on


class DotcomLauncher(Launcher):
    """Runs each job of a sweep as ``python train.py OVERRIDES`` in a process of its own."""

    config: DictConfig

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from dotcom.sweep.composing import Composer
        from dotcom.sweep.grid import check_repeated, check_swept, first_job, parsed, sweep_name, swept_values

        self.context, self.config = hydra_context, config
        self.composer = Composer(hydra_context.config_loader, config)
        given = list(map(str, config.hydra.overrides.task))
        check_repeated(given)
        overrides = parsed(given, config.hydra.sweeper.get("params"), hydra_context.config_loader)
        if str(config.hydra.sweeper.get("_target_")).endswith(GRIDS):  # others draw from intervals, too
            check_swept(overrides)
        self.swept = swept_values(overrides)
        if config.smoke and (Path(config.hydra.sweep.dir) / "sweep.json").exists():
            raise UsageError(f"smoke=true hydra.sweep.dir={config.hydra.sweep.dir}: it holds a sweep; choose another")
        if not self._given("hydra.sweep.dir=") and not config.smoke:  # a trial is made anew each time
            base = self.composer.composed(first_job(overrides)).resolved()
            with open_dict(config):
                config.hydra.sweep.dir = str(Path(config.hydra.sweep.dir).with_name(sweep_name(base, self.swept)))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from dotcom.effects import check_sweep_effects
        from dotcom.sweep.grid import check_distinct, make_job
        from dotcom.sweep.session import Settings, sweep

        console, short = make_console(stderr=True), len(job_overrides) < LONG
        self.composer.compose(job_overrides)
        checks = [
            self.composer.checked(overrides)
            for overrides in track(job_overrides, "checking", disable=short or not console.is_terminal, console=console)
        ]
        configs = [config for config, _ in checks]
        check_sweep_effects([idle for _, idle in checks])
        jobs = [
            make_job(overrides, self.swept, config) for overrides, config in zip(job_overrides, configs, strict=True)
        ]
        check_distinct(jobs, configs)
        if self.config.smoke:  # one seed of each arm will do
            first = dict(reversed([(job.arms, index) for index, job in enumerate(jobs)])).values()
            jobs, job_overrides = [jobs[index] for index in sorted(first)], [job_overrides[i] for i in sorted(first)]
        settings = Settings(**{name: self._setting(name) for name in Settings.__annotations__})
        hydra = [text for text in self.config.hydra.overrides.hydra if not text.startswith(OF_THE_SWEEP)]
        sources = self.config.hydra.runtime.config_sources
        if own := [source.path for source in sources if source.provider == "command-line"]:  # --config-dir
            hydra.append(f"hydra.searchpath=['file://{own[0]}']")
        scores = sweep(Path(self.config.hydra.sweep.dir), jobs, self.swept, settings, sys.argv, hydra)
        return [
            JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=scores[job.name])
            for overrides, job in zip(job_overrides, jobs, strict=True)
        ]

    def _given(self, start: str) -> bool:
        return any(text.startswith(start) for text in self.config.hydra.overrides.hydra)

    def _setting(self, name: str) -> Any:
        value = self.config[name]
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


class DotcomSweeper(basic_sweeper.BasicSweeper):
    """Hydra's own sweeper, which leaves it to our launcher to compose and to check each job of a grid."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose each job for a launcher that does not do so before the first one starts."""
        if not isinstance(self.launcher, DotcomLauncher):
            super().validate_batch_is_legal(batch)
