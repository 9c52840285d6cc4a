"""Which jobs a sweep has, and what they are called."""

import pytest

from dotcom.errors import UsageError
from dotcom.sweep.grid import (
    LONGEST,
    Job,
    check_distinct,
    check_repeated,
    describe,
    first_job,
    make_job,
    parsed,
    sweep_name,
    swept_values,
)

CONFIG = {"seed": 0, "data": {"root": None}, "co_bias": True, "hardware": {"accelerator": "cpu", "devices": 1}}


def job(*arms: str, seed: int = 0) -> Job:
    return Job(f"{arms}{seed}", (*arms, f"seed={seed}"), arms, seed, "0")


def test_repeated_key__is_refused_with_what_was_said():
    with pytest.raises(UsageError, match=r"co_bias: set 2 times \(co_bias=true,false co_bias=true\)"):
        check_repeated(["co_bias=true,false", "seed=0", "co_bias=true"])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("co_bias=true,false", ["true", "false"]),
        ("seed=range(0,3)", ["0", "1", "2"]),
        ("block=choice(qib,mv2)", ["qib", "mv2"]),
        ("optimizer.lr=0.1,0.01", ["0.1", "0.01"]),
    ],
)
def test_swept_values__are_those_of_hydras_syntax(text, values):
    assert swept_values(parsed([text, "epochs=3"], None)) == {text.partition("=")[0]: values}


def test_swept_values__of_the_command_line_win_over_those_of_a_file():
    overrides = parsed(["co_bias=first,second", "epochs=3"], {"co_bias": "true,false", "seed": "range(0,2)"})
    assert swept_values(overrides) == {"co_bias": ["first", "second"], "seed": ["0", "1"]}
    assert first_job(overrides) == ["co_bias=first", "seed=0", "epochs=3"]


def test_settings_of_the_sweep__cannot_be_swept():
    with pytest.raises(UsageError, match="slots: expected one value for the whole sweep"):
        parsed(["slots=1,2"], None)


def test_job__is_named_by_what_is_swept_and_a_fingerprint():
    made = make_job(["epochs=3", "co_bias=True", "seed=0", "slots=2"], ["co_bias", "seed"], CONFIG)
    assert made.name == f"co_bias-true__seed-0__{made.fingerprint}"
    assert made.arms == ("co_bias=true",)
    assert made.overrides == ("epochs=3", "co_bias=True", "seed=0")


def test_job_name__needs_no_quotes_and_fits_a_file_system():
    made = make_job(["weights=/a b/c=d,e.ckpt", f"name={'x' * 300}"], ["weights", "name"], CONFIG)
    assert made.name.startswith("weights-a-b-c-d-e.ckpt__name-xxx")
    assert len(made.name) <= LONGEST + 20
    other = make_job(["weights=/a b/c=d,e.ckpt", f"name={'x' * 300}y"], ["weights", "name"], CONFIG)
    assert made.name != other.name


def test_job_names__differ_where_folders_would_read_the_same():
    names = {make_job([f"data.root={root}"], ["data.root"], CONFIG).name for root in ("/d/a-b", "/d/a/b", "/d/a b")}
    assert len(names) == 3


def test_sweep_name__stays_with_the_question():
    swept = {"co_bias": ["true", "false"], "seed": ["0", "1"]}
    name = sweep_name(CONFIG, swept)
    assert name.startswith("co_bias__seed__")
    assert name == sweep_name(CONFIG | {"slots": 4, "output_dir": "/other", "hardware": {}, "retry": "failed"}, swept)
    assert name != sweep_name(CONFIG | {"epochs": 3}, swept)
    assert name != sweep_name(CONFIG | {"trainer": {"max_epochs": 3}}, swept)
    assert name != sweep_name(CONFIG, swept | {"seed": ["0", "1", "2"]})


def test_equal_jobs__are_refused():
    with pytest.raises(UsageError, match="two jobs of the sweep are the same: co_bias=true seed=0 and co_bias=true"):
        check_distinct([job("co_bias=true"), job("co_bias=true")], [CONFIG, dict(CONFIG)])
    check_distinct([job("co_bias=true"), job("co_bias=false")], [CONFIG, CONFIG | {"co_bias": False}])


def test_description__multiplies_arms_and_seeds_only_if_the_grid_is_full():
    grid = [job(arm, seed=seed) for arm in ("a=1", "a=2") for seed in (0, 1, 2)]
    assert describe(grid) == "2 arms x 3 seeds = 6 jobs"
    assert describe(grid[:5]) == "5 jobs"
    assert describe(grid[:1]) == "1 arm x 1 seed = 1 job"
