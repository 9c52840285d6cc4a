"""What becomes of every setting when a run goes on from a checkpoint, or only evaluates it: none is without effect."""

import signal
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
import train as train_module
from omegaconf import DictConfig, OmegaConf

import dotcom.checkpoint
import dotcom.effects
from dotcom.checkpoint import changes, check_files
from dotcom.effects import OF_A_SWEEP, check_effects, check_single, check_sweep_effects, idle_settings, repeats
from dotcom.errors import UsageError
from dotcom.fingerprint import scientific
from dotcom.record import Record
from dotcom.resume import NETWORK, NEW, PLACE, QUESTION, STATE, TRAINING, among, is_plumbing, own_settings
from dotcom.tasks.base import renew, settings_of
from test_checked import asked
from test_conf import EMBEDDED, composed
from test_resume import Killed, settings
from test_values import dotted

OTHER: dict[type, Any] = {
    bool: lambda v: not v,
    int: lambda v: v + 32,
    float: lambda v: v / 2 + 0.1,
    str: lambda v: "x",
}


def keys_of(data: str) -> Iterator[str]:
    """Every key that this task has and those before it have not, but for what only repeats another."""
    before = {key for earlier in EMBEDDED[: EMBEDDED.index(data)] for key in all_keys(earlier)}
    yield from (key for key in all_keys(data) if key not in before)


def all_keys(data: str) -> Iterator[str]:
    cfg = composed(f"data={data}")
    copies = {key for key, _ in repeats(cfg)}
    for key in dotted(OmegaConf.to_container(cfg, resolve=False)):
        if key not in copies and not (key.startswith("task.") and key != "task._target_"):
            yield key


def other(value: Any) -> Any:
    """Another value than this one, of its kind."""
    return OTHER[type(value)](value) if type(value) in OTHER else [*(value or []), 1]


@pytest.mark.parametrize("data", EMBEDDED)
def test_every_key__is_in_one_list(data):
    """A new setting has to say whether it stays, stays within an epoch, counts from then on, or asks for something."""
    lists = {"NETWORK": NETWORK, "STATE": STATE, "PLACE": PLACE, "QUESTION": tuple(QUESTION)}
    fates = {key: [name for name, keys in lists.items() if key in keys] for key in keys_of(data)}
    fates = {key: names or ["NEW"] * among(key, NEW) for key, names in fates.items()}
    assert {key: names for key, names in fates.items() if len(names) != 1} == {}


def test_lists__name_keys_that_exist():
    known = {key for data in EMBEDDED for choice in ("adamw", "sgd") for key in dotted(plain(data, choice))}
    known |= {"model.name", "model.two_way", "data.prepared.digest", "optimizer.amsgrad"}
    names = (*NETWORK, *STATE, *PLACE, *NEW, *QUESTION, *TRAINING)
    assert [name for name in names if not any(key == name or key.startswith(f"{name}") for key in known)] == []


def plain(data: str, optimizer: str = "adamw") -> dict[str, Any]:
    config: Any = OmegaConf.to_container(composed(f"data={data}", f"optimizer={optimizer}"), resolve=False)
    return dict(config)


class Walk:
    """A run of each task that has left a checkpoint, in which one setting is another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
        self.config = asked(f"data={data} epochs=8")
        self.content: dict[str, Any] = {}
        for module in (dotcom.checkpoint, dotcom.effects):
            monkeypatch.setattr(module, "read_plain", lambda setting, path: self.content)

    def before(self, key: str, between_epochs: bool = True) -> None:
        """The checkpoint of a run that had another value of ``key``."""
        saved: Any = OmegaConf.create(deepcopy(self.config))
        OmegaConf.update(saved, key, other(OmegaConf.select(saved, key)), merge=False, force_add=True)
        config = OmegaConf.to_container(saved)
        self.content = {"config": config, "state_dict": {}, "epoch": 0, "between_epochs": between_epochs}

    def said(self, **more: Any) -> str:
        """The error of going on from it; empty if it is allowed."""
        try:
            check_files(self.config | more)
        except UsageError as error:
            return str(error)
        return ""


@pytest.mark.parametrize("data", EMBEDDED)
def test_every_key_at_resume__stays_or_cannot_change_a_result(data, monkeypatch, tmp_path):
    walk = Walk(monkeypatch, data)
    (tmp_path / "last.ckpt").touch()
    silent = []
    for key in keys_of(data):
        walk.before(key)
        said = walk.said(resume=True, output_dir=str(tmp_path))
        refused = key in said or (bool(said) and key in ("task._target_", *SHOWN_AS_CHOICE))
        counts = is_plumbing(key) or key in QUESTION or key in ("epochs", "lr_batch")  # nobody reads the last one
        if not refused and not counts:
            silent.append((key, said))
    assert silent == []


SHOWN_AS_CHOICE = ("model._target_", "optimizer._partial_", "scheduler._partial_")


@pytest.mark.parametrize("data", EMBEDDED)
def test_every_key_with_ckpt_path__stays_or_counts_and_is_said(data, monkeypatch):
    walk = Walk(monkeypatch, data)
    going_on = {"ckpt_path": "RUN/last.ckpt", "epochs": 9, "output_dir": "elsewhere"}
    wrong = []
    for key in keys_of(data):
        if key in QUESTION or key.endswith(("_partial_", "data._target_")):
            continue
        walk.before(key)
        said, new = walk.said(**going_on), " ".join(changes(walk.config | going_on))
        walk.before(key, between_epochs=False)
        within = walk.said(**going_on)
        stays = key in (*NETWORK, *STATE)
        if stays:
            right = key in said or "add " in said
        elif key in PLACE:
            right = key in within or "data=" in within
            right = right and not said
        else:
            counted = key in scientific(walk.config) or key in own_settings(walk.config)
            right = not said and not within and (not counted or key.partition("._target_")[0] in new)
        if not right:
            wrong.append((key, said, within, new))
    assert wrong == []


@pytest.mark.parametrize("data", EMBEDDED)
def test_every_key_of_the_training__is_refused_by_an_evaluation_of_another_run(data, monkeypatch):
    walk = Walk(monkeypatch, data)
    silent = []
    for key in keys_of(data):
        walk.before(key)
        idle = dotcom.effects.idle_in_evaluation({key}, walk.config | {"fit": False, "ckpt_path": "best.ckpt"}, [])
        if bool(idle) != among(key, TRAINING):
            silent.append(key)
    assert silent == []


CHANGED = {  # what a longer training is given, other than before
    "epochs": "3",
    "image_size": "32",
    "optimizer.lr": "0.02",
    "optimizer.weight_decay": "0.3",
    "optimizer.fused": "false",
    "+optimizer.betas": "[0.8,0.9]",
    "+optimizer.eps": "1e-5",
    "scheduler.warmup": "0.3",
    "scheduler.floor": "0.2",
    "accumulate": "2",
    "lr_scaling": "sqrt",
    "lr_batch": "8",
    "sync_batchnorm": "true",
    "clip": "1.5",
    "save_every_steps": "300",
    "save_every_minutes": "70",
    "ema": "0.5",
    "freeze": "2",
    "average_best": "4",
    "multi_scale": "[32]",
    "progressive_until": "0.5",
    "monitor": "val/loss",
    "label_smoothing": "0.2",
    "seed": "5",
    "data.batch_size": "4",
    "data.repeats": "1",
    "data.mixup": "0.4",
    "data.cutmix": "0.7",
    "data.train_transform.min_scale": "0.5",
    "data.train_transform.auto_augment": "trivial",
    "data.train_transform.random_erasing": "0.3",
    "data.val_transform.resize": "96",
}
ELSEWHERE = {  # scientific settings that are counted by other tests, or that follow from those above
    "learning_rates.adamw": "optimizer.lr follows from it",
    "learning_rates.sgd": "not of this optimizer",
    "progressive": "read anew by each run, as multi_scale",
    "teacher": "tests/tasks/test_distillation.py: it is no part of a checkpoint",
    "distill": "likewise",
    "distill_weight": "likewise",
    "distill_temperature": "likewise",
    "data.prepared.digest": "tests/data/test_prepare.py",
    "name": "model.name",
    "pyramid": "set by the task",
    "weights": "refused",
    "data.num_classes": "stays",
    "data.dataset.": "another set",
    "data.train_transform.image_size": "image_size",
    "data.val_transform.image_size": "image_size",
    "data.seed": "seed",
    "data.multi_scale": "multi_scale",
    "data.progressive": "progressive",
    "data.progressive_until": "progressive_until",
}


class Probe(L.Callback):
    """Notes the settings that a training is about to use, after everything has been restored, and ends it."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        (optimizer,), (schedule,) = trainer.optimizers, [config.scheduler for config in trainer.lr_scheduler_configs]
        data, named = trainer.datamodule, {type(callback).__name__: vars(callback) for callback in trainer.callbacks}
        noted = {f"group {n}": settings_of(g) | {"lr": g["initial_lr"]} for n, g in enumerate(optimizer.param_groups)}
        noted["schedule"] = [schedule.lr_lambdas[0](step) for step in range(7)], schedule.base_lrs
        names = ("every_steps", "every_minutes", "best", "monitor", "sign", "mode", "epochs", "enabled")
        noted |= {name: {key: state[key] for key in names if key in state} for name, state in named.items()}
        noted["data"] = {key: value for key, value in vars(data).items() if isinstance(value, (int, float, str, bool))}
        noted["sizes"], noted["blend"] = vars(data.sizes), repr(data.blend)
        noted["loader"] = trainer.train_dataloader.batch_size, trainer.train_dataloader.sampler.seed
        noted["transforms"] = {split: repr(transform) for split, transform in data.transforms.items()}
        noted["trainer"] = trainer.max_epochs, trainer.accumulate_grad_batches, trainer.gradient_clip_val
        noted["task"] = pl_module.ema.average.decay, pl_module.loss.label_smoothing
        part = trainer.current_epoch / trainer.max_epochs
        Probe.seen.append({"settings": noted, "part": part, "rates": [g["lr"] for g in optimizer.param_groups]})
        at = schedule.last_epoch / trainer.estimated_stepping_batches
        Probe.seen[-1]["moved"] = abs(at - part) < 1 / trainer.estimated_stepping_batches
        Probe.seen[-1]["follows"] = schedule.base_lrs[0] * schedule.lr_lambdas[0](schedule.last_epoch)
        Probe.seen[-1]["seed"] = torch.initial_seed()
        raise Killed


def probed(config: dict[str, Any]) -> dict[str, Any]:
    """What the first step of a run sees."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    Path(config["output_dir"]).mkdir()
    config = config | {"callbacks": config["callbacks"] | {"probe": {"_target_": "test_going_on.Probe"}}}
    try:
        with pytest.raises(Killed):
            train_module.run(config, Record(config["output_dir"], config, {}, []))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Probe.seen.pop()


def test_longer_training__uses_every_setting_that_it_is_given(photos, tmp_path):
    """Whatever the checkpoint restores, it trains with the settings of a new run, at its place in their schedule."""
    from test_resume import run

    run(settings("classification", photos, tmp_path / "first", "data.num_workers=0", "average_best=2", "epochs=1"))
    given = ["data.num_workers=0", *(f"{key}={value}" for key, value in CHANGED.items())]
    fresh = settings("classification", photos, tmp_path / "fresh", *given)
    going_on = f"ckpt_path={tmp_path}/first/last.ckpt"
    longer = settings("classification", photos, tmp_path / "longer", *given, going_on)
    new, said = probed(fresh), " ".join(changes(longer))
    old = probed(longer)
    assert old["settings"] == new["settings"]
    assert old["part"] == 1 / 3
    assert old["moved"]
    assert old["seed"] != 0  # that of the checkpoint, with its random numbers
    assert old["rates"] == [pytest.approx(old["follows"])]
    assert old["settings"]["group 0"]["betas"] == (0.8, 0.9)
    unsaid = [key for key in CHANGED if key.lstrip("+") not in said and not among(key.lstrip("+"), PLUMBED)]
    assert unsaid == []
    keys = [
        key for key in scientific(fresh) if among(key, (*NEW, *PLACE)) and not key.endswith(("_target_", "_partial_"))
    ]
    known = {key.lstrip("+") for key in CHANGED}
    assert [key for key in keys if key not in known and not among(key, tuple(ELSEWHERE))] == []


PLUMBED = ("save_every_steps", "save_every_minutes", "progressive_until")


@pytest.mark.parametrize("settings", [{"momentum": 0.5, "nesterov": True}, {"weight_decay": 0.1}, {"dampening": 0.2}])
def test_optimizer__keeps_its_moments_and_takes_its_settings(settings):
    weight = torch.nn.Parameter(torch.ones(2))
    before = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    before.step()
    now = torch.optim.SGD([weight], lr=0.3, **({"momentum": 0.9} | settings))
    wanted = [settings_of(group) for group in now.param_groups]
    now.load_state_dict(before.state_dict())
    assert [settings_of(group) for group in now.param_groups] != wanted
    renew(now, wanted)
    assert [settings_of(group) for group in now.param_groups] == wanted
    assert torch.equal(now.state[weight]["momentum_buffer"], before.state[weight]["momentum_buffer"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("optimizer=sgd", "add optimizer=adamw"),
        ("scheduler=constant", "add scheduler=warmup_cosine"),
        ("data=cifar10", "add data=fashion"),
        ("learning_rates.adamw=0.5", "add learning_rates.adamw=0.004"),
        ("ema=0.5", "add ema=0.9"),
        ("data.seed=7", "add data.seed=0"),
    ],
)
def test_resume__advises_one_key_for_one_cause(line, said, monkeypatch, tmp_path):
    walk = Walk(monkeypatch, "fashion")
    (tmp_path / "last.ckpt").touch()
    walk.content = {"config": asked("ema=0.9"), "state_dict": {}, "epoch": 0}
    walk.config = asked(with_ema(line))
    assert walk.said(resume=True, output_dir=str(tmp_path)).endswith(said)


def with_ema(line: str) -> str:
    return line if line.startswith("ema=") else f"ema=0.9 {line}"


def idle(line: str, *chosen: str) -> dict[str, str]:
    cfg, defaults = composed(*line.split()), composed(*chosen)
    return idle_settings(cfg, defaults, asked(line), chosen)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr_batch=64", "lr_batch: expected lr_scaling=linear or sqrt with it"),
        ("learning_rates.sgd=0.5", "learning_rates.sgd: expected optimizer=sgd with it; this run has adamw"),
        ("learning_rates.adamw=0.5 optimizer.lr=0.1", "learning_rates.adamw and optimizer.lr: expected one"),
        ("data.prefetch=4", "data.prefetch: expected data.num_workers=1 or more with it"),
        ("data.worker_threads=4", "data.worker_threads: expected data.num_workers=1 or more with it"),
        ("teacher=resnet18 distill_weight=1.0 label_smoothing=0.1", "label_smoothing: expected distill_weight below 1"),
    ],
)
def test_setting_that_nothing_reads__is_refused(line, said):
    with pytest.raises(UsageError) as raised:
        check_effects(composed(*line.split()), composed(), asked(line), [])
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    "line",
    [
        "lr_batch=64 lr_scaling=linear",
        "learning_rates.adamw=0.5",
        "data.num_workers=2 data.prefetch=4 data.worker_threads=2",
        "sync_batchnorm=true float32_matmul=high data.pin_memory=true join_timeout=10",  # go along with other hardware
        "save_every_steps=100000 freeze=9 average_best=3",
    ],
)
def test_setting_that_the_hardware_decides_on__is_not(line):
    assert idle(line) == {}


def test_sweep__may_pass_on_what_only_some_of_its_runs_read():
    one, two = idle("learning_rates.sgd=0.5"), idle("optimizer=sgd learning_rates.sgd=0.5", "optimizer=sgd")
    check_sweep_effects([one, two])
    with pytest.raises(UsageError, match=r"^learning_rates\.sgd: expected optimizer=sgd"):
        check_sweep_effects([one, one])


@pytest.mark.parametrize(
    "line", ["slots=2", "slots=[cuda:0]", "retry=failed", "status=true", "plan=true", "job_timeout=3"]
)
def test_setting_of_a_sweep__is_refused_without_one(line):
    cfg: DictConfig = composed(line)
    with pytest.raises(UsageError, match="expected -m with it"):
        check_single(cfg, composed())
    assert line.partition("=")[0] in OF_A_SWEEP
    check_single(composed("experiment=small"), composed("experiment=small"))
