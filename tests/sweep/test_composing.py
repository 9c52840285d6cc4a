"""The jobs of a sweep, composed together: what comes out is what Hydra makes of each job alone, with less work."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dotcom.config import register_resolvers
from dotcom.errors import CONF, UsageError
from dotcom.sweep.composing import Checked, Composer, UncertainError, references
from dotcom.sweep.grid import make_job, parsed, swept_values

CPU = "hardware=cpu"


@contextmanager
def composer(*given: str) -> Iterator[tuple[Composer, list[list[str]]]]:
    """What composes the sweep of a command line, and the jobs of it."""
    register_resolvers()
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [*given, "hydra.job.name=train"], RunMode.MULTIRUN)
        overrides = parsed(given, master.hydra.sweeper.params, loader)
        (jobs,) = BasicSweeper.split_arguments(list(overrides.values()), None)
        try:
            yield Composer(loader, master), jobs
        finally:
            HydraConfig.instance().cfg = before


@pytest.fixture
def compositions(monkeypatch) -> list[list[str]]:
    """The overrides of each job that Hydra composes as a whole."""
    seen: list[list[str]] = []
    composed = Composer.composed

    def noting(self: Composer, overrides: Sequence[str]) -> Any:
        seen.append(list(overrides))
        return composed(self, overrides)

    monkeypatch.setattr(Composer, "composed", noting)
    return seen


def alone(composer: Composer, job: Sequence[str]) -> Checked:
    """A job that is composed and checked by itself."""
    return composer.first_checked(composer.composed(job), job)


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("co_bias=first,true image_size=64,96 ema=null,0.9", 1),
        ("data=fashion,fashion_boxes seed=0,1 ema=0.99,null", 2),
        ("model=dotcom_tiny,shvit_s1 optimizer.lr=0.1,0.001 seed=1,0", 2),
        ("optimizer=adamw,sgd learning_rates.adamw=0.1,0.2 learning_rates.sgd=0.3,0.4", 2),
        ("experiment=small,sizes_small epochs=1,3 data.batch_size=8,16 model=dotcom_tiny", 2),
        ("data=fashion_masks head=deeplabv3,mobilevit data.batch_size=8,16", 1),
        ("multi_scale=null,[64,96] seed=0,1", 2),  # each list is composed
        ("+trainer.limit_val_batches=1,2 seed=0,1", 2),
        ("+trainer.max_steps=3 accumulate=1,2 clip=null,1.0", 1),
        ("~callbacks.pictures scheduler.warmup=0,0.1 precision=32-true,bf16-mixed", 1),
        ("lr_scaling=linear,null lr_batch=32,64", 1),
        ("run_name='${seed}',b seed=0,1", 2),
        ("data.val_transform.resize=70,80 data.train_transform.auto_augment=rand,null", 1),
        ("experiment=co_bias_small seed=0,1", 1),
        ("slots=2 status=true sweep=null arms=[] epochs=1,2 +data.val_batch_size=4,8", 2),
        ("smoke=true co_bias=true,false", 1),
    ],
)
def test_jobs_composed_together__are_what_each_is_alone(compositions, line, choices):
    given = line.split() if CPU in line else [*line.split(), CPU]
    swept = swept_values(parsed(given, None))
    with composer(*given) as (together, jobs):
        together.compose(jobs)
        found = [together.checked(job) for job in jobs]
        assert len(compositions) == choices
        by_themselves = [alone(together, job) for job in jobs]
    for job, (config, idle), (apart, idle_apart) in zip(jobs, found, by_themselves, strict=True):
        assert config == apart
        assert repr(config) == repr(apart)  # 1 is not true, and 1 is not 1.0
        assert idle == idle_apart
        assert make_job(job, swept, config) == make_job(job, swept, apart)


def test_folders_of_data__are_read_for_each_job(make_photos, tmp_path, monkeypatch):
    make_photos(tmp_path / "one")
    other = make_photos(tmp_path / "two")
    for split in ("train", "val"):
        first = next((other / split).iterdir())
        first.rename(other / split / "another")
        (other / split / "third").mkdir()
        for file in (other / split / "another").iterdir():
            (other / split / "third" / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    roots = [make_root.relative_to(tmp_path) for make_root in (next((tmp_path / "one").iterdir()), other)]
    given = ["data=image_folder", f"data.root={roots[0]},{roots[1]}", "seed=0,1", CPU]
    with composer(*given) as (together, jobs):
        together.compose(jobs)
        found = [together.checked(job)[0] for job in jobs]
        assert found == [alone(together, job)[0] for job in jobs]
    assert len({config["data"]["num_classes"] for config in found}) == 2


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("co_bias=true,false seed=range(0,250)", 1),
        ("model=dotcom_tiny,dotcom_small data=fashion,cifar10 block=qib,mv2 seed=range(0,63)", 4),
        ("optimizer.lr=range(0.001,0.501,0.001) optimizer=sgd", 1),
    ],
)
def test_grid_of_500_jobs__is_composed_once_for_each_combination_of_choices(compositions, line, choices):
    with composer(*line.split(), CPU) as (together, jobs):
        together.compose(jobs)
        checks = [together.checked(job) for job in jobs]
    assert len(checks) >= 500
    assert len(compositions) == choices


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("co_bias=true,fasle seed=0,1", "co_bias=fasle: expected true | false | first | second; did you mean false?"),
        ("seed=0,1,2,-1", "seed=-1: expected a number from 0 to 4294967295"),
        ("seed=0,1.5", "seed=1.5: expected a whole number, such as the default 0"),
        ("optimizer.lr=0.1,nan", "optimizer.lr=nan: expected a finite number"),
        ("epochs=1,2 trainer.max_epochs=3,4", "trainer.max_epochs=3: it repeats epochs; set epochs=3 instead"),
        ("seed=0,1 image_size=64,100", "image_size=100: expected a multiple of 32 above 0, up to 8192"),
        ("ema=0.9,null monitor=val_ema/top1", "monitor=val_ema/top1: there is no moving average; add ema=0.999"),
        ("progressive=32,128", "progressive=128: expected less than image_size=64, the size that it rises to"),
        ("fit=true,false", "fit=false: expected ckpt_path=<file>, the checkpoint to evaluate"),
        ("smoke=true seed=0,true", "seed=true: expected a whole number, such as the default 0"),
        ("task.num_classes=10,11", "task.num_classes=10: it repeats data.num_classes; set data.num_classes=10 instead"),
        ("data.num_classes=10,11", "data.num_classes=11: these data have 10 classes; leave it out"),
        ("callbacks.pictures=null,5", "callbacks.pictures=5: expected settings of its own, such as callbacks.pictures"),
        ("name=null,resnet18", "name=resnet18: expected model=timm with it"),
        ("hardware.num_nodes=1,2", "-m hardware.num_nodes=2: a sweep runs on one machine; on a cluster, "),
    ],
)
def test_wrong_value_in_any_job__is_refused(line, bad):
    with composer(*line.split(), CPU) as (together, jobs):
        together.compose(jobs)
        with pytest.raises(UsageError) as refused:
            list(map(together.checked, jobs))
    assert str(refused.value).startswith(bad)


def test_value_after_a_refused_one__is_that_of_its_own_job():
    with composer("seed=0,-1,2", CPU) as (together, jobs):
        together.compose(jobs)
        together.checked(jobs[0])
        with pytest.raises(UsageError):
            together.checked(jobs[1])
        assert together.checked(jobs[2]) == alone(together, jobs[2])


def test_references__are_all_named_or_uncertain():
    assert set(references("${a}-${best:x,${b.c}} ${hydra:runtime.choices.model}")) == {"a", "b.c"}
    uncertain = (
        "${.a}",
        "${a.${b}}",
        "${oc.select:a,1}",
        "${unknown:1}",
        "${hydra:job.override_dirname}",
        r"\${a} ${b}",
    )
    for text in uncertain:
        with pytest.raises(UncertainError):
            list(references(text))


def test_jobs_whose_settings_are_looked_up_by_a_function__are_each_composed(compositions):
    given = ["seed=0,1", "run_name='${oc.select:seed}'", CPU]
    with composer(*given) as (together, jobs):
        together.compose(jobs)
        names = [together.checked(job)[0]["run_name"] for job in jobs]
    assert len({tuple(job) for job in compositions}) == 2  # each of them
    assert names == [0, 1]
