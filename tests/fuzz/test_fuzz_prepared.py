"""Whatever stands in prepared data, in weights and in the card of an export: it is used, or refused in one line."""

import hashlib
import json
import struct
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from dotcom.benchmark.targets import card_of, size_on, target
from dotcom.config import register_resolvers
from dotcom.data.journal import Journal
from dotcom.data.pieces import plan_of
from dotcom.data.preparation import Preparation
from dotcom.data.shards import read_item
from dotcom.data.verification import verify
from dotcom.models.weights import read_weights
from dotcom.prepared import JOURNAL, MANIFEST, SUMS
from dotcom.stores import Unusable
from every_reader import TARGETS, use_prepared
from mutations import changed_bytes, changed_json, fuzzed, new_folder, obeys_the_rule

pytestmark = pytest.mark.usefixtures("cache")


def linked(source: Path, root: Path, changed: str, content: bytes) -> None:
    """A copy of a folder in which one file holds something else."""
    for file in source.rglob("*"):
        if file.is_file():
            place = root / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place != root / changed:
                place.symlink_to(file)
    (root / changed).write_bytes(content)


@fuzzed
@given(data=st.data(), kind=st.sampled_from(list(TARGETS)))
def test_manifest(shards, data, kind):
    manifest = json.loads((shards[kind] / MANIFEST).read_text())
    with new_folder() as root:
        linked(shards[kind], root, MANIFEST, data.draw(changed_json(manifest)))
        obeys_the_rule(lambda: use_prepared(kind, root))
        obeys_the_rule(lambda: verify(root))


@fuzzed
@given(data=st.data(), kind=st.sampled_from(["boxes", "boxes", "labels", "masks"]))
def test_shards__whose_sums_were_made_to_fit(shards, data, kind):
    """A manifest says which bytes a shard has; so who writes both decides about all of them."""
    facts = json.loads((shards[kind] / MANIFEST).read_text())
    if kind == "boxes":
        name, entry = "train/photos.json", facts["extras"]["train/photos.json"]
        content = data.draw(changed_json(json.loads((shards[kind] / name).read_text())))
    else:
        entry = facts["shards"]["train"][0]
        name = entry["name"]
        content = data.draw(changed_bytes((shards[kind] / name).read_bytes()))
    entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with new_folder() as root:
        linked(shards[kind], root, name, content)
        (root / MANIFEST).unlink()
        (root / MANIFEST).write_text(json.dumps(facts))
        obeys_the_rule(lambda: use_prepared(kind, root))
        if kind != "boxes":
            obeys_the_rule(lambda: read_item(root / name, 1), Unusable)


@fuzzed
@given(data=st.data())
def test_sums(shards, data):
    sums = (shards["labels"] / SUMS).read_bytes()
    with new_folder() as root:
        linked(shards["labels"], root, SUMS, data.draw(changed_bytes(sums)))
        obeys_the_rule(lambda: verify(root))


SETTINGS = {"form": "folder", "data": "image_folder", "side": 64, "quality": 90, "images": {"train": 1, "val": 1}}
ENTRIES = [
    {"key": "train/a/0.jpg", "files": [["train/a/0.jpg", 3, "0" * 64]], "left_out": [], "sizes": []},
    {"key": "val/a/0.jpg", "files": [], "left_out": [["val/a/0.jpg", "broken"]], "sizes": []},
]


@fuzzed
@given(st.lists(st.sampled_from([SETTINGS, *ENTRIES]).flatmap(changed_json), max_size=3), st.booleans())
def test_journal(lines, begun):
    first = [json.dumps(SETTINGS).encode()] if begun else []
    with new_folder() as root:
        (root / JOURNAL).write_bytes(b"\n".join([*first, *lines, b""]))

        def go_on() -> None:
            entries = Journal(root / JOURNAL, SETTINGS).entries.values()
            for entry in entries:
                [(root / name).is_file() and size for name, size, _ in entry["files"]]
                sum(len(left) for left in entry["left_out"])

        obeys_the_rule(go_on)


@fuzzed
@given(data=st.data())
def test_manifest__of_a_preparation_that_is_done(shards, data, photos_once):
    manifest = json.loads((shards["labels"] / MANIFEST).read_text())
    plan, root = photos_once
    options = Namespace(shards=True, choice="image_folder", side=64, quality=90, shard_images=3, workers=1)
    with new_folder() as out:
        (out / MANIFEST).write_bytes(data.draw(changed_json(manifest)))
        obeys_the_rule(lambda: Preparation(plan, root, Namespace(**vars(options), out=out)).finished)


@pytest.fixture(scope="module")
def photos_once(tmp_path_factory, make_photos):
    register_resolvers()
    root = str(make_photos(tmp_path_factory.mktemp("originals")))
    return plan_of({"root": root, "dataset": {"_target_": "dotcom.data.image_folder"}}), root


WEIGHTS = save({"backbone.a": torch.zeros(2, 3), "head.b": torch.ones(4)}, {"format": "pt"})
LENGTH = struct.unpack("<Q", WEIGHTS[:8])[0]
HEADER, TENSORS = json.loads(WEIGHTS[8 : 8 + LENGTH]), WEIGHTS[8 + LENGTH :]


def with_header(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + TENSORS


@fuzzed
@given(changed_bytes(WEIGHTS) | changed_json(HEADER).map(with_header))
def test_safetensors(content):
    with new_folder() as root:
        (root / "model.safetensors").write_bytes(content)
        obeys_the_rule(lambda: read_weights("weights", root / "model.safetensors"))


CARD = {
    "name": "dotcom_tiny",
    "runtime": "onnx",
    "image_size": 256,
    "inputs": [{"name": "images", "shape": [1, 3, 256, 256], "dtype": "float32"}],
    "versions": {"torch": "2.9"},
}


@fuzzed
@given(changed_json(CARD))
def test_card(content):
    with new_folder() as root:
        (root / "net.onnx").write_bytes(b"onnx")
        (root / "net.onnx.json").write_bytes(content)
        size = obeys_the_rule(lambda: size_on(card_of(root / "net.onnx")))
        assert size is None or isinstance(size, Exception) or (type(size) is int and size > 0)
        obeys_the_rule(lambda: target(str(root / "net.onnx")))
