"""What becomes of each setting when a run goes on from a checkpoint, or only evaluates one; nothing imports torch.

With ``resume=true`` a run goes on as if never stopped: all that can change its result has to be as it was
(``own_settings``), all else counts as it is given. With ``ckpt_path=``, in a new folder, what the weights and the state
of the optimizer are made for has to be as it was (``NETWORK``, ``STATE``), within an epoch also what the place in it is
counted in (``PLACE``); all else counts from then on (``NEW``), and the run says what has changed. An evaluation
(``fit=false``) has no use for ``TRAINING``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dotcom.errors import spelled
from dotcom.fingerprint import NEWER, NEWER_WITHIN, PLUMBING, PLUMBING_KEYS, flat, scientific

SAME_BACKBONE = ("model._target_", "model.variant", "model.name", "block")  # or its weights would not fit
SWITCHES = ("model.two_way",)  # of one network alone; its weights fit, but mean something else
NETWORK = (
    "task._target_",
    *SAME_BACKBONE,
    *SWITCHES,
    "co_bias",
    "head",
    "separable",
    "auxiliary",
    "loss",
    "anchor_scales",
    "extra_channels",
    "data.num_classes",
    "data.mean",
    "data.std",
    "ema",
)
# in how many groups an optimizer keeps its state, with what a run did that does not say
GROUPING = {"backbone_lr": 1.0} | {key: NEWER[key] for key in ("layer_decay", "decayed")}
STATE = ("optimizer._target_", "optimizer.amsgrad", *GROUPING)  # what the state of the optimizer is made for
PLACE = (
    "data.dataset._target_",
    "data.prepared.digest",
    "data.batch_size",
    "data.repeats",
    "accumulate",
    "seed",
    "data.seed",
)
NEW = (  # a name with a dot at its end stands for all below it
    "epochs",
    "image_size",
    "learning_rates.",
    "optimizer.",
    "scheduler.",
    "lr_scaling",
    "lr_batch",
    "sync_batchnorm",
    "clip",
    "save_every_steps",
    "save_every_minutes",
    "freeze",
    "average_best",
    "multi_scale",
    "progressive",
    "progressive_until",
    "precision",
    "channels_last",
    "float32_matmul",
    "compile",
    "checkpointing",
    "run_name",
    "monitor",
    "join_timeout",
    "label_smoothing",
    "class_weights",
    "teacher",
    "distill",
    "distill_weight",
    "distill_temperature",
    "data.dataset.",
    "data.root",
    "data.train_transform.",
    "data.val_transform.",
    "data.mixup",
    "data.cutmix",
    "data.num_workers",
    "data.worker_threads",
    "data.prefetch",
    "data.pin_memory",
    "data.val_batch_size",
    "data.check",
    "data._target_",
    "hardware.",
    "trainer.",
    "callbacks.",
    "logger.",
)
QUESTION = {  # they say what to do with the checkpoint, or are refused with it
    "fit": "whether to train at all",
    "ckpt_path": "the checkpoint itself",
    "resume": "refused with ckpt_path=",
    "weights": "refused with ckpt_path=",
    "output_dir": "refused; hydra.run.dir= chooses it",
    "name": "the same as model.name, or refused",
    "pyramid": "refused; the task sets it",
    "sweep": "set by a sweep for its jobs",
    "arms": "set by a sweep for its jobs",
    "slots": "refused without -m",
    "retry": "refused without -m",
    "status": "refused without -m",
    "plan": "refused without -m",
    "smoke": "a trial trains anew, and is refused with resume=true or fit=false",
    "job_timeout": "refused without -m",
}
TRAINING = (  # what an evaluation has no use for
    "epochs",
    "learning_rates.",
    "optimizer.",
    "scheduler.",
    "accumulate",
    "lr_scaling",
    "lr_batch",
    "sync_batchnorm",
    "clip",
    "save_every_steps",
    "save_every_minutes",
    "freeze",
    "backbone_lr",
    "layer_decay",
    "decayed",
    "average_best",
    "multi_scale",
    "progressive",
    "progressive_until",
    "checkpointing",
    "seed",
    "label_smoothing",
    "class_weights",
    "teacher",
    "distill",
    "distill_weight",
    "distill_temperature",
    "data.train_transform.",
    "data.mixup",
    "data.cutmix",
    "data.repeats",
)
BROUGHT = ("epochs", "image_size", "lr_batch", "learning_rates.", "monitor", "pyramid", "data.")  # by a choice of data


def among(key: str, names: Sequence[str]) -> bool:
    """Whether a dotted key is one of the names, or below one that ends with a dot."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in names)


def own_settings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that must not change when a run goes on in its own folder."""
    young = [*(key for key in NEWER if key in config), *(key for key, _ in flat(config) if key in NEWER_WITHIN)]
    names = [*scientific(config), *young, "data.prepared.digest"]
    left_out = [key for key in names if key == "epochs" or key.startswith(("task.", "trainer."))]
    return ("task._target_", *(key for key in dict.fromkeys(names) if key not in left_out))


def is_plumbing(key: str) -> bool:
    """Whether a setting cannot change a result, so that a run may go on in its own folder with another value."""
    parts = key.split(".")
    return parts[0] in PLUMBING or bool(PLUMBING_KEYS & set(parts))


Config = Mapping[str, Any]  # plain values: what a file holds is never interpolated


def at(config: Config, key: str) -> Any:
    """A value by its dotted key; None if there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def select(config: Config, key: str) -> Any:
    """A value by its dotted key; of the moving average, whether there is one."""
    value = value_of(config, key)
    return value is not None if key == "ema" else value


def value_of(config: Config, key: str) -> Any:
    """A value by its dotted key; of a setting that came later, the value that means what was done before."""
    value = at(config, key)
    return NEWER_WITHIN.get(key, NEWER.get(key.rpartition(".")[2])) if value is None else value


Compared = Callable[[Config, str], Any]


def differing(saved: Config, asked: Config, keys: Sequence[str], same: Compared = select) -> list[str]:
    """The keys in which two configurations differ, one for each cause.

    Another optimizer, schedule or set of data brings settings of its own, which are left out beside it. ``same`` gives
    what is compared of a key.
    """
    found = [key for key in keys if same(saved, key) != same(asked, key)]
    found = [key for key in found if "." not in key or key.rpartition(".")[2] not in found]  # it repeats that one
    if any(key.startswith("learning_rates.") for key in found) and "optimizer.lr" in found:
        found.remove("optimizer.lr")  # which follows from it
    for group in ("optimizer", "scheduler"):
        if f"{group}._target_" in found:
            found = [key for key in found if key == f"{group}._target_" or not key.startswith(f"{group}.")]
    if source := next((key for key in ("task._target_", "data.dataset._target_") if key in found), None):
        absent = {key for key in found if None in (at(saved, key), at(asked, key))}
        found = [key for key in found if key == source or not (among(key, BROUGHT) or key in absent - {"ema"})]
    return found


def override_for(key: str, saved: Config, asked: Config) -> str:
    """What to write on the command line to get a saved setting."""
    if key in SWITCHES:
        return f"{key}={spelled(value_of(saved, key))}"
    if key.startswith("model."):
        if not (variant := at(saved, "model.variant")):
            return f"model=timm name={at(saved, 'model.name')}"
        family = str(at(saved, "model._target_")).removeprefix("dotcom.models.").partition(".")[0]
        return f"model={family.lower()}_{variant}"
    if key in ("optimizer._target_", "scheduler._target_"):
        return f"{key.partition('.')[0]}={str(at(saved, key)).rpartition('.')[2].lower()}"
    if key in ("task._target_", "data.dataset._target_", "data.num_classes") or key.startswith("data.prepared."):
        source, wanted = (str(at(config, "data.dataset._target_")) for config in (saved, asked))
        root = at(saved, "data.root")
        return f"data.root={root}" if source == wanted else f"data={source.rpartition('.')[2]}"
    return f"{key}={spelled(value_of(saved, key))}"


def changed(saved: Config, asked: Config) -> list[str]:
    """What a run that goes on in a new folder does otherwise than before: ``optimizer.lr=0.5 (was 0.004)``."""
    keys = ["epochs", "data.root", *own_settings(asked)]
    network = set(NETWORK) - {"ema"}  # whose decay may be another
    found = [key for key in differing(saved, asked, keys, value_of) if key not in network]
    pairs = [(override_for(key, asked, saved), override_for(key, saved, asked)) for key in found]
    return [f"{new} (was {old.partition('=')[2]})" for new, old in dict.fromkeys(pairs)]
