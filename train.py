"""Train or evaluate: ``python train.py model=dotcom_base data=imagenet``; ``--help`` lists everything."""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dotcom.checkpoint import changes
from dotcom.config import checked, register_resolvers
from dotcom.effects import check_effects, check_single
from dotcom.errors import UsageError, one_line_errors, unmeasured, vanished
from dotcom.hardware import gpus, keep_memory
from dotcom.help import help_text
from dotcom.hints import check_flags, check_task
from dotcom.paths import from_folder
from dotcom.processes import PATIENCE, FolderLock, stop_with_others
from dotcom.record import Record
from dotcom.rollcall import roll_call
from dotcom.signals import listen
from dotcom.world import check_world, is_first, meets_others, per_node

register_resolvers()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one job and return its monitored score, so that a sweeper can optimise it."""
    if HydraConfig.get().mode is RunMode.MULTIRUN:  # with another launcher; ours runs each job as a run of its own
        if "ddp" in str(cfg.hardware.strategy) and "SLURM_JOB_ID" not in os.environ:
            raise UsageError("hardware=ddp: its second process would start the sweep again; use hydra/launcher=dotcom")
        return checked_run(cfg)  # Hydra reports what failed, after all jobs have run
    with one_line_errors():  # here too, or Hydra would add a line of its own
        return checked_run(cfg)


def checked_run(cfg: DictConfig) -> float | None:
    """Refuse a bad configuration before anything heavy is imported, then run."""
    if cfg.output_dir != HydraConfig.get().runtime.output_dir:
        raise UsageError(f"output_dir={cfg.output_dir}: choose the folder of a run with hydra.run.dir={cfg.output_dir}")
    stop_with_others()
    choices = HydraConfig.get().runtime.choices
    chosen = [override for override in HydraConfig.get().overrides.task if override.split("=")[0] in choices]
    overrides = list(HydraConfig.get().overrides.task)
    given = [override.partition("=")[0] for override in HydraConfig.get().overrides.hydra]
    if cfg.resume and HydraConfig.get().mode is RunMode.RUN and "hydra.run.dir" not in given:
        raise UsageError("resume=true: expected hydra.run.dir=RUN with it, the folder of the run that is to go on")
    lock = FolderLock(Path(cfg.output_dir) / ".lock")
    if is_first():
        lock.acquire(PATIENCE)
    check_task(choices)
    defaults = hydra.compose("config", overrides=chosen)
    for each in (cfg, defaults):
        from_folder(each, Path(HydraConfig.get().runtime.cwd))
    check_single(cfg, defaults)
    config = checked(cfg, defaults)
    if not config["sweep"] and HydraConfig.get().mode is RunMode.RUN:
        check_effects(cfg, defaults, config, chosen)
    if is_first() and (new := changes(config)):
        print(f"goes on from {config['ckpt_path']} with {', '.join(new)}")
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    check_world(config["hardware"], "hydra.sweep.dir" if sweeping else "hydra.run.dir", given)
    record = Record(cfg.output_dir, config, dict(choices), overrides)
    if meets_others(config["hardware"]):
        roll_call(config["hardware"]["num_nodes"], shared_facts(config, record.content), config["join_timeout"])
    return run(config, record)


def shared_facts(config: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same on all nodes of a run."""
    devices = config["hardware"]["devices"]
    return {
        "settings": record["fingerprint"],
        "precision": config["precision"],
        "commit": record["commit"],
        "torch": record["versions"]["torch"],
        "hardware.num_nodes": config["hardware"]["num_nodes"],
        "processes": per_node(devices) or gpus(),
        "a checkpoint to go on from": config["ckpt_path"] is not None,
    }


def run(config: dict[str, Any], record: Record) -> float | None:
    """Train and evaluate; however it ends, say so in ``run.json`` and to W&B. Returns the monitored score, if any."""
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # wait briefly, then sleep: 1.4 times OMP_WAIT_POLICY=PASSIVE
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else C++ frames around the one line about a lost process
    from dotcom.callbacks.stop import stop_at_once
    from dotcom.loggers import close_runs, quiet

    quiet()
    record.update()
    exit_code = 1
    try:
        listen(stop_at_once)  # until training starts, and after it
        result = trained(config, record)
        record.end("done", **result)
        exit_code = 0
        score: float | None = result["score"]
        return score
    except SystemExit as stop:  # the answer to SIGTERM, SIGUSR1 and Ctrl-C
        exit_code = stopped(config["output_dir"], stop)
        record.end("preempted")
        sys.exit(exit_code)
    finally:
        if exit_code == 1:
            if not Path(config["output_dir"]).is_dir():
                raise UsageError(vanished(config["output_dir"]))
            record.end("failed")
        close_runs(exit_code)


def trained(config: dict[str, Any], record: Record) -> dict[str, Any]:
    """Build everything, train, evaluate the best checkpoint, say where to look, and return what came out."""
    import lightning as L
    import torch
    from hydra.utils import instantiate

    from dotcom.loggers import identify
    from dotcom.models.cost import macs, parameters
    from dotcom.report import describe, report

    L.seed_everything(config["seed"], workers=True, verbose=False)
    torch.set_float32_matmul_precision(config["float32_matmul"])
    task, data = instantiate(config["task"]), instantiate(config["data"])
    if config["checkpointing"]:
        task.model.backbone.recompute(config["checkpointing"])
    task.config = config  # every checkpoint carries it
    identify(config)
    loggers, callbacks = (present(instantiate(config[group])) for group in ("logger", "callbacks"))
    trainer = instantiate(config["trainer"], callbacks=callbacks, logger=loggers)
    if trainer.strategy.root_device.type == "cpu":
        keep_memory()
    for logger in loggers:
        logger.log_hyperparams(config)
    describe(config, task.model, trainer, data.loading(trainer))
    record.update(parameters=parameters(task.model), macs=sum(macs(task.model, config["image_size"]).values()))
    if config["fit"]:
        trainer.fit(task, data, ckpt_path=config["ckpt_path"])
        trainer.logger = None  # the best epoch is logged already; another row would be a step that never was
    speed = trainer.callback_metrics.get("images/s")
    average = measured_average(config, trainer, task, data)
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")  # none if training ended before a validation
    measured = trainer.validate(task, data, ckpt_path=final_checkpoint(config, best), verbose=False)
    scores = dict(*measured) | average  # no validation batches: no scores
    report(config, scores, trainer, task.per_class, speed, record.minutes)
    if measured and config["monitor"] not in scores:
        raise UsageError(unmeasured(config["monitor"]))
    if config["smoke"]:
        from dotcom.trial import try_rest

        try_rest(config, scores, trainer, task)
    result = {"score": scores.get(config["monitor"]), "scores": scores}
    return result if speed is None else result | {"images_per_second": float(speed)}


def final_checkpoint(config: dict[str, Any], best: str) -> str | None:
    """What the last validation measures: a checkpoint, or None for the weights as they are."""
    if not config["fit"]:
        path: str = config["ckpt_path"]
        return path
    return "best" if best else None


def measured_average(config: dict[str, Any], trainer: Any, task: Any, data: Any) -> dict[str, float]:
    """The scores of ``average.ckpt`` as ``average/*`` and ``average_ema/*``; empty if the run makes none."""
    path = Path(config["output_dir"]) / "average.ckpt"
    if not (config["fit"] and config["average_best"]):
        return {}
    if not trainer.strategy.broadcast(path.exists()):  # in the folder of the first process; other nodes may not see it
        return {}
    scores = dict(*trainer.validate(task, data, ckpt_path=path, verbose=False))
    return {f"average{name.removeprefix('val')}": value for name, value in scores.items()}


def present(parts: dict[str, Any]) -> list[Any]:
    """The parts that are not switched off with ``null``."""
    return [part for part in parts.values() if part is not None]


def stopped(folder: str, stop: SystemExit) -> int:
    """Say how to go on after Ctrl-C (exit code 130), or SIGTERM or SIGUSR1 (143)."""
    from dotcom.callbacks.stop import Stopped

    if (Path(folder) / "last.ckpt").exists() and is_first():
        print(f"stopped; go on with the same command and hydra.run.dir={folder} resume=true", file=sys.stderr)
    return int(str(stop.code)) if isinstance(stop, Stopped) else 130


if __name__ == "__main__":
    with one_line_errors():
        check_flags(sys.argv[1:])
        if {"--help", "-h"} & set(sys.argv[1:]):
            print(help_text(sys.argv[1:]))
        else:
            main()
