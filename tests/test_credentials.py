"""Keys in addresses are refused before anything writes or prints them; control characters do not reach a terminal."""

import os
import subprocess
import sys

import pytest

from conftest import REPO
from dotcom.credentials import check_credentials, spelled_leaves
from dotcom.errors import UsageError

SECRET = "wJalr/XUtn"


@pytest.mark.parametrize(
    "text",
    [
        f"data.root=s3://AKIAIOSF:{SECRET}@bucket/photos",
        f"'data.root=\"s3://AKIAIOSF:{SECRET}@bucket\"'",
        "+data.root=https://wJalrXUtn@host/photos",
        f"--out=s3://:{SECRET}@bucket",
        f"data.root=https://bucket.s3.amazonaws.com/photos?X-Amz-Signature={SECRET}",
        f"weights=https://host/file?v=1&access_token={SECRET}",
    ],
)
def test_key_in_an_address__is_refused_and_not_shown(text):
    with pytest.raises(UsageError, match=r"://\*\*\*: the address holds a password or a key") as raised:
        check_credentials(["co_bias=true", text])
    assert "wJalr" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "data.root=s3://bucket/photos@2024",
        "data.root=s3://bucket/a:b/c",
        "AWS_ENDPOINT_URL=http://127.0.0.1:9000/a@b",
        "data.root=/photos/me@home",
        "data.root=s3://bucket/token/secret",
        "run_name=a:b@c",
    ],
)
def test_address_without_a_key__is_accepted(text):
    check_credentials([text])
    check_credentials(spelled_leaves({"data": {"roots": [text]}}))


def said(*words: str, **environment: str) -> str:
    """What a command prints that must end with code 2."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("where", ["command line", "sweep", "file", "environment"])
def test_key__is_in_no_file(where, tmp_path):
    folder, address = tmp_path / "run", f"s3://KEY:{SECRET}@bucket"
    words = ["data=image_folder", f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
    environment = {}
    if where == "file":
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndata:\n  root: {address}\n")
        words += [f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine"]
        words[-1] = "experiment=mine"
    elif where == "environment":
        words, environment = [*words, "data.root=${oc.env:MINE}"], {"MINE": address}
    else:
        words = [*(["-m"] if where == "sweep" else []), *words, f"data.root='{address}'"]
    line = said(str(REPO / "train.py"), *words, **environment)
    assert "the address holds a password or a key" in line
    assert "wJalr" not in line
    written = [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
    assert not [path for path in written if "wJalr" in path.read_text()]


@pytest.mark.parametrize(
    "words",
    [
        [str(REPO / "train.py"), "--\x1b[31mflag"],
        ["-c", "from dotcom.cli import main; main()", "predict", "--\x1b[31mflag", "a", "b"],
        ["-m", "dotcom.bench", "\x1b[31mflag"],
    ],
    ids=["train", "dotcom", "bench"],
)
def test_control_characters__of_an_unknown_argument_are_escapes(words):
    line = said(*words)
    assert "\x1b" not in line
    assert "\\x1b[31mflag" in line
