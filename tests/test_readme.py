"""Every command in the README composes, and every file it names is there."""

import re
import shlex

import pytest
from omegaconf import DictConfig

from conftest import REPO
from test_conf import EMBEDDED, composed

README = (REPO / "README.md").read_text()
TRAIN = sorted({line.partition("#")[0].strip() for line in re.findall(r"^\$? ?(python train\.py.*)$", README, re.M)})
MODULES = sorted(
    set(re.findall(r"python -m ((?:dotcom|experiments)[\w.]+)", README + (REPO / "experiments/README.md").read_text()))
)
WRONG = "model=dotcom_bse"  # shown with its error


@pytest.mark.parametrize("command", [line for line in TRAIN if WRONG not in line])
def test_command__composes(command, photos):
    overrides = [word.replace("PATH", str(photos)) for word in shlex.split(command)[2:] if not word.startswith("-")]
    root = [] if any(word.startswith("data.root") for word in overrides) else [f"data.root={photos}"]
    for arm in range(3):
        chosen = [
            f"{key}={value.split(',')[arm % len(value.split(','))]}"
            for key, value in (w.split("=", 1) for w in overrides)
        ]
        assert composed(*chosen, *root).task


def test_commands__are_the_promised_ones():
    for promised in ("python train.py model=dotcom_base data=imagenet", "python train.py -m co_bias=true,false"):
        assert any(line.startswith(promised) for line in TRAIN)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([a-z]+)", README, re.M))))
def test_make_target__exists(target):
    assert re.search(rf"^{target}:", (REPO / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("module", MODULES)
def test_module__exists(module):
    path = module.replace(".", "/")
    files = [folder / f"{path}{end}" for folder in (REPO / "src", REPO) for end in (".py", "/__main__.py")]
    assert any(file.exists() for file in files)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_link__leads_somewhere(path):
    assert path.startswith("https://") or (REPO / path).exists()


@pytest.mark.parametrize("key", sorted(set(re.findall(r"^\| (`.*?) \|", README.partition("## One key each")[2], re.M))))
def test_key__exists(key):
    settings = [composed(f"data={data}") for data in EMBEDDED]  # some keys are of one task only
    for name in re.findall(r"`([^`]+)`", key):
        assert any(has(cfg, name.split(".")) for cfg in settings), name


def has(node, parts: list[str]) -> bool:
    """Whether there is such a setting, even one without a value."""
    return not parts or (isinstance(node, DictConfig) and parts[0] in node and has(node[parts[0]], parts[1:]))


def test_readme__is_short():
    assert len(README.splitlines()) < 200
