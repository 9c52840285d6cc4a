"""The launcher behind ``python train.py -m``: one process per job, and a sweep that survives.

Hydra's side only: it takes the grid from Hydra's sweeper and hands it to ``dotcom.sweep``.
"""

import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.progress import track

from dotcom.errors import UsageError
from dotcom.text import make_console


@dataclass
class DotcomLauncherConf:
    """What ``hydra/launcher=dotcom`` means."""

    _target_: str = "hydra_plugins.dotcom_launcher.DotcomLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="dotcom", node=DotcomLauncherConf, provider="dotcom")

OF_THE_SWEEP = ("hydra.mode", "hydra.run.", "hydra.sweep", "hydra.launcher.", "hydra/launcher", "hydra/sweeper")
LONG = 10  # jobs whose check takes so long that one wants to see it go on
UNKNOWN = "/nonexistent"  # output folder of a job as long as it has no name


class DotcomLauncher(Launcher):
    """Runs each job of a sweep as ``python train.py OVERRIDES`` in a process of its own."""

    config: DictConfig

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from dotcom.sweep.grid import check_repeated, check_swept, first_job, parsed, sweep_name, swept_values

        self.context, self.config = hydra_context, config
        self.defaults: dict[tuple[str, ...], DictConfig] = {}  # by the choices made
        given = list(map(str, config.hydra.overrides.task))
        check_repeated(given)
        overrides = parsed(given, config.hydra.sweeper.get("params"), hydra_context.config_loader)
        if "BasicSweeper" in str(config.hydra.sweeper.get("_target_")):  # others draw from intervals, too
            check_swept(overrides)
        self.swept = swept_values(overrides)
        if config.smoke and (Path(config.hydra.sweep.dir) / "sweep.json").exists():
            raise UsageError(f"smoke=true hydra.sweep.dir={config.hydra.sweep.dir}: it holds a sweep; choose another")
        if not self._given("hydra.sweep.dir=") and not config.smoke:  # a trial is made anew each time
            base, _ = self._plain(hydra_context.config_loader.load_sweep_config(config, first_job(overrides)))
            with open_dict(config):
                config.hydra.sweep.dir = str(Path(config.hydra.sweep.dir).with_name(sweep_name(base, self.swept)))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from dotcom.effects import check_sweep_effects
        from dotcom.sweep.grid import check_distinct, make_job
        from dotcom.sweep.session import Settings, sweep

        console, short = make_console(stderr=True), len(job_overrides) < LONG
        checks = [
            self._checked(overrides)
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

    def _checked(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The configuration of a job, checked as the job itself will check it, and what of it nothing reads."""
        from dotcom.config import checked
        from dotcom.effects import idle_settings
        from dotcom.hints import check_task
        from dotcom.world import check_sweep

        _, cfg = self._plain(self.context.config_loader.load_sweep_config(self.config, list(overrides)))
        choices = HydraConfig.get().runtime.choices
        check_task(choices)
        chosen = tuple(text for text in overrides if text.partition("=")[0] in choices)
        if chosen not in self.defaults:
            self.defaults[chosen] = compose("config", list(chosen))
        config = checked(cfg, self.defaults[chosen])
        check_sweep(config["hardware"])
        return config, idle_settings(cfg, self.defaults[chosen], config, chosen)

    def _plain(self, config: DictConfig) -> tuple[dict[str, Any], DictConfig]:
        """A configuration without Hydra's own part: resolved, and as it is."""
        config = deepcopy(config)
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = UNKNOWN
        HydraConfig.instance().set_config(config)
        cfg = deepcopy(config)
        with open_dict(cfg):
            del cfg["hydra"]
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)), cfg
