"""Damage of files that a run has written: it is noticed before they are used, and the message says how to go on."""

import errno
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dotcom.callbacks import WholeFiles, checkpoint
from dotcom.errors import UsageError
from dotcom.inference.saved_run import saved_run
from dotcom.models.weights import read_weights
from dotcom.plain_pickle import check_sums, damaged_part, read_plain
from dotcom.record import Record
from recorded import config_of


@pytest.fixture
def run(checkpoints, tmp_path) -> Path:
    """A folder with best.ckpt and last.ckpt."""
    for name in ("best.ckpt", "last.ckpt"):
        shutil.copy(checkpoints("classification"), tmp_path / name)
    return tmp_path


def overwrite(path: Path, at: int, count: int = 100) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.Random(at).randbytes(count))


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other or one != one


def test_hundred_bytes_anywhere__are_noticed_or_mean_nothing(run):
    """What can be hit without a meaning is what fills up the file, so that tensors lie at whole addresses."""
    whole, path = torch.load(run / "best.ckpt", weights_only=True), run / "last.ckpt"
    size, noticed = path.stat().st_size, 0
    for at in (*range(0, size, size // 40), size - 100):
        shutil.copy(run / "best.ckpt", path)
        overwrite(path, at)
        try:
            content = read_weights("weights", path)
        except UsageError:
            noticed += 1
        else:
            assert equal(content, whole), at
    assert noticed > 30


@pytest.mark.parametrize(
    "use",
    [
        lambda path: read_plain("ckpt_path", str(path)),
        lambda path: read_weights("weights", path),
        lambda path: saved_run(path),
        lambda path: WholeFiles().load_checkpoint(path),
    ],
    ids=["before a run", "weights", "commands", "in a run"],
)
def test_damaged_checkpoint__is_not_used_and_the_message_names_a_whole_one(use, run):
    path = run / "last.ckpt"
    overwrite(path, path.stat().st_size // 2)
    said = (
        f"last.ckpt: damaged, the sum of data/.* does not hold; best.ckpt there is whole: .*cp {run}/best.ckpt {path}"
    )
    with pytest.raises(UsageError, match=said):
        use(path)
    overwrite(run / "best.ckpt", path.stat().st_size // 2)
    with pytest.raises(UsageError, match="no other copy is whole: remove it, and the same command begins anew"):
        use(path)


def test_checkpoint_cut_off__is_refused(run):
    os.truncate(run / "last.ckpt", 5000)
    with pytest.raises(UsageError, match=r"damaged one; best\.ckpt there is whole"):
        read_plain("ckpt_path", str(run / "last.ckpt"))


def test_file_without_sums__is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_weights("weights", tmp_path / "w.pt")["weight"], torch.ones(3))


def test_device_or_pipe__is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "last.ckpt")
    for path in (tmp_path / "last.ckpt", Path("/dev/zero")):
        with pytest.raises(UsageError, match="a pipe or a device; expected a file"):
            check_sums("ckpt_path", str(path))


def test_file_that_cannot_be_read_back__does_not_replace_the_one_before(tmp_path, monkeypatch):
    files, path = WholeFiles(), tmp_path / "last.ckpt"
    files.save_checkpoint({"step": 1}, path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "damaged_part", lambda path: "the sum of data.pkl does not hold")
        with pytest.warns(
            UserWarning, match="last.ckpt: not saved, read back, it is damaged.*the one from before is kept"
        ):
            files.save_checkpoint({"step": 2}, path)
    assert path.read_bytes() == before
    assert list(files.unsaved) == [str(path)]
    files.save_checkpoint({"step": 3}, path)
    assert files.load_checkpoint(path) == {"step": 3}
    assert not files.unsaved
    assert damaged_part(path) is None


def test_disk_that_fails__is_an_error(tmp_path, monkeypatch):
    """Only what may pass by itself is a warning."""
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    with pytest.raises(OSError, match="Read-only file system"):
        WholeFiles().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b"\xff\xfe{}", b'{"minutes": "x"}', b"[" * 100_000])
def test_record_of_a_run__that_is_damaged_is_written_anew(content, tmp_path, capsys):
    (tmp_path / "run.json").write_bytes(content)
    record = Record(str(tmp_path), config_of("data=fashion", "hardware=cpu"), {}, [])
    record.update()
    said = capsys.readouterr().out
    assert said.startswith(f"warning: {tmp_path}/run.json: damaged, ")
    assert said.endswith("it is written anew, and its minutes count from now; nothing else is lost\n")
    assert said.count("\n") == 1
    Record(str(tmp_path), config_of("data=fashion", "hardware=cpu"), {}, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b"\xff\xfe{}", b'{"updated": "x"}'])
def test_progress__which_is_only_shown_never_blocks(content, tmp_path, capsys):
    (tmp_path / "progress.json").write_bytes(content)
    Record(str(tmp_path), config_of("data=fashion", "hardware=cpu"), {}, []).update()
    assert capsys.readouterr().out == ""
