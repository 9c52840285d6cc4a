"""``python train.py -m``: what a sweep says before it starts, which commands it understands, and other launchers."""

import json
import subprocess
import sys
import zipfile

import pytest

from conftest import REPO

FOLDER = ["data=image_folder", "image_size=64", "data.batch_size=4", "hardware=cpu", "epochs=1"]


@pytest.mark.parametrize(
    ("overrides", "grid"),
    [
        (["co_bias=true,false"], "2 arms x 1 seed = 2 jobs, in runs/sweep/co_bias__"),
        (["co_bias=true,false", "seed=range(0,3)"], "2 arms x 3 seeds = 6 jobs, in runs/sweep/co_bias__seed__"),
        (["model=glob(dotcom_*)", "block=qib,mv2"], "8 arms x 1 seed = 8 jobs, in runs/sweep/model__block__"),
        (["hardware=cpu,ddp_cpu"], "2 arms x 1 seed = 2 jobs, in runs/sweep/hardware__"),
        (["experiment=co_bias_small"], "4 arms x 8 seeds = 32 jobs, in runs/sweep/co_bias__seed__"),
        (["experiment=co_bias_small", "seed=7"], "4 arms x 1 seed = 4 jobs, in runs/sweep/co_bias__"),
        (["experiment=small,sizes_small"], "2 arms x 1 seed = 2 jobs, in runs/sweep/experiment__"),
        (["co_bias=true,false", "seed=0,1,2", "smoke=true"], "2 arms x 1 seed = 2 jobs, in runs/smoke/sweep/2"),
        (["seed=0,1", "hydra.sweep.dir=mine"], "1 arm x 2 seeds = 2 jobs, in mine"),
    ],
)
def test_grid__is_said_before_anything_starts(train, tmp_path, overrides, grid):
    done = train("-m", *overrides, "status=true")
    assert done.stdout.splitlines()[0].startswith(grid)
    assert "pending" in done.stdout
    assert not list(tmp_path.rglob("run.json"))


def test_folders_of_data__can_be_swept(train, photos, make_photos, tmp_path):
    other = make_photos(tmp_path / "other")
    done = train("-m", *FOLDER, f"data.root={photos},{other}", "status=true")
    assert done.stdout.startswith("2 arms x 1 seed = 2 jobs, in runs/sweep/data.root__")


def test_sweep__keeps_its_folder_whatever_the_machine(train):
    said = {
        train("-m", "co_bias=true,false", "status=true", *more).stdout.splitlines()[0]
        for more in ([], ["slots=2"], ["retry=failed"], ["hardware=cpu"], ["logger=wandb"], ["job_timeout=5"])
    }
    assert len(said) == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["co_bias=true,false", "co_bias=true"], "co_bias: set 2 times (co_bias=true,false co_bias=true)"),
        (["co_bias=true,true"], "two jobs of the sweep are the same: co_bias=true seed=0 and co_bias=true seed=0"),
        (["co_bias=true,fasle"], "co_bias=fasle: expected true | false | first | second; did you mean false?"),
        (["seed=0,1", "slots=0"], "slots=0: expected a number from 1 on, or devices: [cuda:0,cuda:1]"),
        (["seed=0,1", "slots=[gpu]"], "slots=[gpu]: expected a number from 1 on, or devices"),
        (["seed=0,1", "retry=all"], "retry=all: expected failed | null"),
        (["seed=0,1", "job_timeout=0"], "job_timeout=0: expected a number above 0"),
        (["retry=failed,null"], "retry: expected one value for the whole sweep"),
        (["model=dotcom_tiny,dotcom_smal"], "did you mean dotcom_small?"),
    ],
)
def test_mistake_in_a_sweep__is_one_line_before_anything_starts(train, tmp_path, overrides, said):
    done = train("-m", *overrides, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not list(tmp_path.rglob("run.json"))


def test_ddp_with_another_launcher__is_refused(train):
    done = train("-m", "hydra/launcher=basic", "hardware=ddp_cpu", "seed=0,1", check=False)
    assert done.returncode == 2
    assert "its second process would start the sweep again; use hydra/launcher=dotcom" in done.stderr


@pytest.mark.slow
def test_submitit__takes_the_same_configuration(train, photos, tmp_path):
    own = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    train("-m", *FOLDER, f"data.root={photos}", "co_bias=true,false", *own)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/sweep/*/*/run.json")]
    assert sorted((record["config"]["co_bias"], record["state"]) for record in records) == [
        (False, "done"),
        (True, "done"),
    ]
    assert len({record["fingerprint"] for record in records}) == 2


def test_wheel__holds_a_launcher_that_hydra_finds(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    copy = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(REPO), str(copy)], check=True)
    subprocess.run([*build, str(copy)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "from hydra.core.plugins import Plugins; from hydra.plugins.launcher import Launcher; import sys;"
        "print([sys.modules[c.__module__].__file__ for c in Plugins.instance().discover(Launcher)"
        " if c.__name__ == 'DotcomLauncher'])"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert str(tmp_path / "site/hydra_plugins/dotcom_launcher") in done.stdout
    assert not (REPO / "src/hydra_plugins/__init__.py").exists()  # it would hide other launchers
