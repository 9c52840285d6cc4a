"""What somebody may have meant by a setting that there is not; nothing here imports torch."""

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dotcom.errors import CONF, SHARED, UsageError, did_you_mean, dotted

SYNONYMS = {  # what other frameworks call it: what it is called here
    "optimizer.lr": "learning_rate lr lr0 base_lr init_lr max_lr",
    "optimizer.weight_decay": "wd decay l2",
    "optimizer": "optim opt optimiser",
    "scheduler": "sched lr_scheduler lr_schedule lr_policy schedule",
    "scheduler.warmup": "warmup_ratio warmup_epochs warmup_steps warmup_iters warmup_t num_warmup_steps",
    "scheduler.floor": "min_lr lrf eta_min lr_min",
    "data.batch_size": "batch bs train_batch_size per_device_train_batch_size batchsize per_gpu_batch_size",
    "data.val_batch_size": "eval_batch_size per_device_eval_batch_size test_batch_size validation_batch_size",
    "data.num_workers": "workers n_workers num_worker dataloader_num_workers dataloader_workers",
    "data.pin_memory": "pin_mem dataloader_pin_memory",
    "data.prefetch": "prefetch_factor dataloader_prefetch_factor",
    "data.root": "data_dir data_path dataset_path dataset_dir data_root dataset_root datadir",
    "data.num_classes": "nc classes n_classes nb_classes",
    "data.mixup": "mixup_alpha",
    "data.cutmix": "cutmix_alpha",
    "data.repeats": "aug_repeats repeated_aug",
    "data.train_transform.auto_augment": "aa randaugment rand_augment autoaugment",
    "data.train_transform.random_erasing": "reprob erasing random_erase",
    "data": "dataset datasets dataset_name",
    "image_size": "img_size imgsz img_sz input_size image_resolution resolution crop_size imagesize train_crop_size",
    "epochs": "max_epochs num_epochs n_epochs num_train_epochs total_epochs nepochs epoch",
    "accumulate": "accumulate_grad_batches gradient_accumulation_steps accum accum_iter grad_accum accum_steps",
    "clip": "grad_clip clip_grad gradient_clip_val max_norm clip_grad_norm max_grad_norm gradient_clip clip_norm",
    "ema": "ema_decay model_ema model_ema_decay use_ema",
    "label_smoothing": "smoothing labelsmoothing label_smoothing_factor",
    "sync_batchnorm": "sync_bn syncbn",
    "precision": "amp fp16 bf16 half mixed_precision use_amp dtype",
    "compile": "torch_compile torchcompile",
    "checkpointing": "gradient_checkpointing grad_checkpointing activation_checkpointing",
    "freeze": "freeze_backbone freeze_epochs",
    "hardware.devices": "gpus devices num_gpus n_gpus ngpus gpu_ids num_devices",
    "hardware.num_nodes": "nodes nnodes num_machines",
    "hardware": "gpu device accelerator cpu",
    "model": "arch architecture net network backbone encoder model_name",
    "ckpt_path": "checkpoint ckpt resume_from resume_from_checkpoint load_checkpoint checkpoint_path",
    "weights": "pretrained pretrained_weights pretrain init_checkpoint initial_checkpoint load_weights finetune",
    "teacher": "teacher_model teacher_path",
    "distill_temperature": "temperature kd_temperature",
    "distill_weight": "distillation_alpha kd_weight",
    "hydra.run.dir": "output output_folder out_dir save_dir log_dir logdir work_dir workdir exp_dir",
    "seed": "random_seed manual_seed random_state",
    "monitor": "metric eval_metric metric_for_best_model",
    "fit=false": "eval evaluate eval_only val_only test test_only",
    "logger=wandb": "wandb use_wandb report_to",
    "logger=tensorboard": "tensorboard tb tensorboard_dir",
    "run_name": "exp_name experiment_name run_id",
    "save_every_steps": "save_steps checkpoint_interval",
}
MEANT = {word: key for key, words in SYNONYMS.items() for word in words.split()}
FLAGS = """-h --help --hydra-help --version -c --cfg --resolve -p --package -r --run -m --multirun --shell-completion
-sc -cp --config-path -cn --config-name -cd --config-dir --experimental-rerun -i --info"""  # of Hydra


def check_flags(words: Sequence[str]) -> None:
    """The command line holds no ``--key=value``, and the configuration that it names is there.

    Raises:
        UsageError: One line that says what to write instead.
    """
    for place, word in enumerate(words):
        flag, _, value = word.partition("=")
        follower = words[place + 1] if place + 1 < len(words) else ""
        if re.match(r"--?[A-Za-z]", word) and not any(known.startswith(flag) for known in FLAGS.split()):
            plain = flag.lstrip("-").replace("-", "_")
            key = meant(plain) or plain
            said = value or ("" if follower.startswith("-") or "=" in follower else follower)
            raise UsageError(f"{flag}: settings have no dashes here; did you mean {spelled_out(key, said)}?")
        if flag in ("-cd", "--config-dir") and not Path(value or follower).expanduser().is_dir():
            raise UsageError(f"{flag} {value or follower}: no such folder; expected one with settings of your own")
        if flag in ("-cn", "--config-name"):
            check_config_name(flag, value or follower, words)


def check_config_name(flag: str, name: str, words: Sequence[str]) -> None:
    """Raise UsageError if no folder of configurations holds the file ``name``."""
    files = [folder / f"{name.removesuffix('.yaml')}.yaml" for folder in own_folders(words)]
    if not any(file.is_file() for file in files):
        raise UsageError(f"{flag} {name}: no such file {files[0]}; leave it out, or choose experiment=NAME")


def own_folders(words: Sequence[str]) -> Iterator[Path]:
    """Where the command line lets Hydra look for configurations, ours first."""
    yield CONF
    for place, word in enumerate(words):
        flag, _, value = word.partition("=")
        if flag in ("-cd", "--config-dir", "-cp", "--config-path"):
            yield Path(value or "".join(words[place + 1 : place + 2])).expanduser()


def spelled_out(key: str, value: str) -> str:
    """``key=value`` as one would write it here."""
    return key if "=" in key else f"{key}={value or 'VALUE'}"


def meant(key: str) -> str | None:
    """What a setting of another framework is called here, whatever group it was looked for in."""
    return MEANT.get(key.lower()) or MEANT.get(key.lower().rpartition(".")[2])


@cache
def brought_by() -> dict[str, tuple[str, ...]]:
    """Each dotted key of the groups, with the choices that bring it, such as ``optimizer=sgd``."""
    found: dict[str, list[str]] = {}
    for file in sorted(CONF.glob("*/*.yaml")):
        group, choice = file.parent.name, file.stem
        if group not in ("task", "experiment") and choice not in SHARED.get(group, ()):
            for key in sorted(keys_of(group, choice)):
                found.setdefault(key, []).append(f"{group}={choice}")
    return {key: tuple(choices) for key, choices in found.items()}


def loaded(file: Path) -> dict[str, Any]:
    """The content of a file of settings, unresolved."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return dict(content or {})


@cache
def keys_of(group: str, choice: str) -> frozenset[str]:
    """The dotted keys that a choice brings, with those of the choices that it builds on."""
    file = CONF / group / f"{choice}.yaml"
    content = loaded(file)
    keys: set[str] = set()
    for other in content.pop("defaults", []):
        if isinstance(other, dict):
            (where, name), *_ = other.items()
            keys |= keys_of(where.removeprefix("/"), name) if where.startswith("/") else set()
        elif other != "_self_":
            keys |= keys_of(group, other)
    own = dotted(content, "" if file.read_text().startswith("# @package _global_") else f"{group}.")
    return frozenset(keys | set(own))


def tasks_of(choice: str) -> str | None:
    """The task that a choice of data brings."""
    file = CONF / "data" / f"{choice}.yaml"
    for other in loaded(file).get("defaults", []) if file.is_file() else []:
        if isinstance(other, dict) and "/task" in other:
            return str(other["/task"])
        if isinstance(other, str) and other != "_self_":
            return tasks_of(other)
    return None


def check_task(choices: Mapping[str, Any]) -> None:
    """The task is that of the data.

    Raises:
        UsageError: With the data of the task that was asked for.
    """
    task, data = choices.get("task"), str(choices.get("data"))
    if (own := tasks_of(data)) and task != own:
        others = sorted(file.stem for file in (CONF / "data").glob("*.yaml") if tasks_of(file.stem) == task)
        known = " | ".join(name for name in others if name not in SHARED["data"])
        raise UsageError(f"task={task}: the data bring the task, and data={data} brings {own}; choose data={known}")


@cache
def arguments_of(target: str) -> tuple[str, ...] | None:
    """What a class or function takes, read from its source without importing it; None if that cannot be told."""
    package, _, name = target.rpartition(".")
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top) if top else None
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0], *inner)
    files = [root.with_suffix(".py")] if root.with_suffix(".py").is_file() else root.rglob("*.py")
    start = re.compile(rf"^(class|def) {re.escape(name)}\b", re.MULTILINE)
    for file in files:
        if start.search(source := file.read_text(errors="replace")):
            return _arguments(ast.parse(source), name)
    return None


def _arguments(tree: ast.Module, name: str) -> tuple[str, ...] | None:
    node = next(n for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and n.name == name)
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not made:
            return None
        node = made[0]
    taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return None if node.args.kwarg else tuple(word.arg for word in taken if word.arg != "self")


def check_added(cfg: Any, defaults: Any, prefix: str = "") -> None:
    """What was added with ``+`` is something that the class or function which gets it takes.

    Raises:
        UsageError: With the nearest argument.
    """
    for name in map(str, cfg):
        key, mine = f"{prefix}{name}", cfg._get_node(name)
        usual = defaults._get_node(name, validate_access=False) if hasattr(defaults, "_get_node") else None
        target = cfg._get_node("_target_", validate_access=False)
        if usual is None and prefix and target is not None and not name.startswith("_"):
            taken = arguments_of(str(target))
            if taken is not None and name not in taken:
                raise UsageError(f"{key}: {target} takes no {name}{did_you_mean(name, taken)}")
        if hasattr(mine, "keys") and not mine._is_interpolation() and not mine._is_none():
            check_added(mine, usual if usual is not None else {}, f"{key}.")


def hint(key: str, value: str, config: Mapping[str, Any], known: Sequence[str]) -> str | None:
    """What to write instead of a key that there is not, or None.

    Args:
        key: As it was written.
        value: Likewise.
        config: The settings of the choices that were made, unresolved.
        known: The keys that there are.
    """
    parent, _, name = key.rpartition(".")
    node: Any = config
    for part in parent.split(".") if parent else []:
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    target = node.get("_target_") if parent and isinstance(node, Mapping) else None
    taken = (arguments_of(str(target)) if target else None) or ()
    if line := of_other_choices(key, known):
        return line
    if name in taken:
        return f"{key}: it is not among the settings yet; add it with a plus: +{key}={value}"
    if (other := meant(key)) and name != other:
        return f"{key}: no such setting; did you mean {other}?"
    if near := difflib.get_close_matches(name, [*taken, *node], n=1) if taken else []:
        return f"{key}: no such setting; did you mean {'' if near[0] in node else '+'}{parent}.{near[0]}?"
    close = difflib.get_close_matches(key, [*known, *MEANT], n=1)
    return f"{key}: no such setting; did you mean {MEANT[close[0]]}?" if close and close[0] in MEANT else None


def of_other_choices(key: str, known: Sequence[str]) -> str | None:
    """Which choices bring a key that those of this run do not bring, or None."""
    brought, full = brought_by(), key
    if key not in brought and not any(own.endswith(f".{key}") for own in known):
        full = next((other for other in sorted(brought) if other.endswith(f".{key}")), key)
    if full not in brought:
        return None
    group = brought[full][0].partition("=")[0]
    names = [choice.partition("=")[2] for choice in brought[full] if choice.startswith(f"{group}=")]
    there = "it" if full == key else full
    return f"{key}: no such setting with the {group} of this run; {there} comes with {group}={' | '.join(names)}"
