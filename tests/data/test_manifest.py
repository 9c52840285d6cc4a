"""A manifest that comes with somebody's data names files within its own folder, and nothing else."""

import json

import pytest

from dotcom.errors import UsageError
from dotcom.prepared import read_prepared


@pytest.mark.parametrize(
    ("name", "sha256"), [("/etc/passwd", "0" * 64), ("train/../../x", "0" * 64), ("train/shard-00000.bin", "../" * 3)]
)
def test_manifest__cannot_lead_out_of_its_folder(name, sha256, tmp_path):
    shard = {"name": name, "images": 1, "bytes": 1, "sha256": sha256}
    facts = {"version": 1, "form": "shards", "shards": {"train": [shard], "val": []}, "extras": {}}
    (tmp_path / "prepared.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=r"prepared\.json is damaged"):
        read_prepared(str(tmp_path))
