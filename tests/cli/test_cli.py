"""The command dotcom: help and mistakes come at once, without torch."""

import subprocess
import sys

import pytest

from dotcom.cli import COMMANDS, main

CHEAP = [
    ["--help"],
    *([command, "--help"] for command in COMMANDS),
    ["predict", "gone.ckpt", "."],
    ["predict", "text.ckpt", "photo.png"],
    ["evaluate", "gone.ckpt"],
    ["evaluate", "text.ckpt", "data.batch_size=1"],
    ["summary", "gone.ckpt"],
    ["summary", "dotcom_bse"],
    ["summary", "dotcom_tiny", "--size", "0"],
    ["predikt"],
    [],
]


def python(code: str, cwd: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_and_mistakes__do_not_wait_for_torch(tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    (tmp_path / "photo.png").write_text("never opened")
    code = f"""
import sys
from dotcom.cli import main
codes = []
for arguments in {CHEAP!r}:
    try:
        main(arguments)
    except SystemExit as end:
        codes.append(end.code)
print(codes)
print([name for name in ("torch", "torchvision", "lightning", "wandb", "matplotlib") if name in sys.modules])
"""
    done = python(code, tmp_path)
    *_, codes, heavy = done.stdout.splitlines()
    helps = 1 + len(COMMANDS)
    assert codes == str([0] * helps + [2] * (len(CHEAP) - helps))
    assert heavy == "[]"
    assert "Traceback" not in done.stderr


def test_help__names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n    {command}" in said for command in COMMANDS)


def test_unknown_command__is_answered_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as end:
        main(["predikt", "x"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "predikt" in said
    assert all(command in said for command in COMMANDS)


def test_bug__keeps_its_traceback(monkeypatch):
    def run(arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("dotcom.cli.summary.run", run)
    with pytest.raises(ZeroDivisionError):
        main(["summary", "dotcom_tiny"])


def test_reader__that_has_enough_ends_it_quietly(tmp_path):
    code = """
import os, sys
import dotcom.cli
import dotcom.cli.summary

def run(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    print("to nobody", flush=True)

dotcom.cli.summary.run = run
sys.exit(dotcom.cli.main(["summary", "dotcom_tiny"]))
"""
    done = python(code, tmp_path)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "gone.ckpt", "--json", "data.root=there"], "CKPT=gone.ckpt: no such file"),
        (["export", "gone.ckpt", "--to", "torch", "data.root=there"], "CKPT=gone.ckpt: no such file"),
        (["predict", "gone.ckpt", "one.png", "--json", "two.png"], "one.png: no such file"),
        (["benchmark", "dotcom_tiny", "--threads", "1", "dotcom_bse"], "dotcom_bse: no such model"),
    ],
)
def test_words__may_stand_after_options(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err
