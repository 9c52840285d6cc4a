"""Whatever stands in a checkpoint: it is used, or refused in one line, before anything of it is built."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dotcom.checkpoint import check_files
from dotcom.errors import UsageError
from dotcom.inference.other_data import data_config
from dotcom.inference.saved_run import saved_run
from dotcom.models.checkpoint import from_config
from dotcom.models.weights import read_weights
from dotcom.plain_pickle import read_plain
from mutations import changed_bytes, changed_values, fuzzed, new_folder, obeys_the_rule
from recorded import config_of

pytestmark = pytest.mark.usefixtures("cache")

CONFIG = json.loads(json.dumps(config_of("data=fashion", "model=dotcom_tiny", "hardware=cpu", "image_size=32")))
CLASSES = [f"class {number}" for number in range(10)]


def written(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def checkpoint(config: Any, classes: Any = CLASSES) -> dict[str, Any]:
    return {"config": config, "state_dict": {"model.head.bias": torch.zeros(10)}, "classes": classes, "epoch": 0}


WHOLE = written(checkpoint(CONFIG))
OPCODES = [  # of pickle, with arguments that a file of tensors may have, or may not
    *(b"(", b"0", b"1", b"2", b"N", b"]", b"}", b")", b"l", b"d", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s"),
    *(b"u", b"R", b"b", b"Q", b"\x81", b"\x88", b"\x89", b"\x8f", b"\x90", b"\x91", b"\x93", b"\x94", b"o", b"\x92"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n", b"c_codecs\nencode\n"),
    *(b"ctorch\nFloatStorage\n", b"cnumpy\nndarray\n", b"cbuiltins\nset\n", b"cargparse\nNamespace\n"),
    *(
        b"X\x03\x00\x00\x00abc",
        b"X\xff\xff\xff\x7fabc",
        b"X\x02\x00\x00\x00\xed\xa0",
        b"U\x01a",
        b"K\x01",
        b"M\x01\x01",
    ),
    *(b"J\xff\xff\xff\xff", b"\x8a\x02\xff\x00", b"\x8b\xff\xff\xff\x7f", b"G\x7f\xf8" + b"\0" * 6, b"I1\n", b"Fnan\n"),
    *(b"q\x00", b"q\xff", b"r\xff\xff\xff\x0f", b"h\x00", b"j\xff\xff\xff\x0f", b"\x96" + b"\xff" * 7 + b"\x0f"),
    *(b"B\xff\xff\xff\x7f", b"C\x01a", b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x97", b"\x98", b"P1\n", b"i__main__\nx\n"),
]


def in_archive(pickled: bytes) -> bytes:
    """A file of weights whose sums hold, with a pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def read_all(content: bytes) -> None:
    """As every command reads a checkpoint."""
    with new_folder() as folder:
        path = folder / "last.ckpt"
        path.write_bytes(content)
        obeys_the_rule(lambda: read_plain("weights", str(path)))
        obeys_the_rule(lambda: read_weights("weights", path))
        obeys_the_rule(lambda: saved_run(path))


@fuzzed
@given(content=changed_bytes(WHOLE))
def test_bytes_of_a_checkpoint(content):
    read_all(content)


@fuzzed
@given(opcodes=st.lists(st.sampled_from(OPCODES), max_size=40), legacy=st.booleans())
def test_pickles(opcodes, legacy):
    pickled = b"\x80\x02" + b"".join(opcodes) + b"."
    read_all(pickled if legacy else in_archive(pickled))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"]" * 3_000_000 + b".",
        b"\x80\x02" + b"}q\x00" * 1_000_000 + b".",
        b"\x80\x02" + b"(" * 3_000_000 + b"t.",
        b"\x80\x02Nr\xff\xff\xff\x0f.",  # a table of 2 GB for what is memorised
        b"\x80\x02\x96\x00\x00\x00\x80\x00\x00\x00\x00.",  # 2 GB of an array of bytes
        b"\x80\x02" + b"]q\x00(" + b"h\x00" * 1000 + b"e.",  # a list of itself
        b"\x80\x02]" + b"".join(b"q%c](h%ch%ch%ce" % (n, n, n, n) for n in range(60)) + b".",  # 3 to the 60th lists
    ],
    ids=["lists", "dicts", "marks", "memo", "bytes", "cycle", "tree"],
)
def test_pickle__that_asks_for_too_much_is_refused(pickled):
    for content in (pickled, in_archive(pickled)):
        with new_folder() as folder:
            path = folder / "w.ckpt"
            path.write_bytes(content)
            assert isinstance(obeys_the_rule(lambda p=path: read_plain("weights", str(p))), UsageError)


@fuzzed
@given(config=changed_values(CONFIG), classes=st.none() | changed_values(CLASSES))
def test_configuration_of_a_checkpoint(config, classes):
    with new_folder() as folder:
        path = folder / "last.ckpt"
        try:
            torch.save(checkpoint(config, CLASSES if classes is None else classes), path)
        except (UnicodeEncodeError, RecursionError):  # lone surrogates: no pickle of protocol 2 can hold them
            return
        run = obeys_the_rule(lambda: saved_run(path))
        if not isinstance(run, UsageError):
            obeys_the_rule(lambda: data_config(run, []))
            obeys_the_rule(lambda: data_config(run, [f"data.root={folder}"]))
            obeys_the_rule(lambda: from_config(run.config["task"]["model"], str(path)), ValueError)
        for asked in ({"ckpt_path": str(path)}, {"weights": str(path)}, {"ckpt_path": str(path), "fit": False}):
            obeys_the_rule(lambda more=asked: check_files(CONFIG | {"output_dir": str(Path(folder) / "new")} | more))
