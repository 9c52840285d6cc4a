"""Whatever stands in the files of a data set with boxes: it is read, or refused in one line."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dotcom.annotations.coco import read_coco
from dotcom.annotations.voc import LISTS
from every_reader import FILES, PLACES, read_boxes
from files import make_coco, make_voc, make_yolo
from mutations import TEXTS, changed_bytes, changed_json, changed_values, fuzzed, new_folder, obeys_the_rule, to_text

pytestmark = pytest.mark.usefixtures("cache")

COCO = {
    "images": [
        {"id": 10, "file_name": "001.jpg", "width": 90, "height": 70},
        {"id": 20, "file_name": "002.jpg", "width": 75, "height": 100},
    ],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 7, "bbox": [10, 8, 30, 20], "iscrowd": 0, "area": 300},
        {"id": 2, "image_id": 20, "category_id": 3, "bbox": [5.5, 30, 40, 25], "iscrowd": 1, "area": None},
    ],
    "categories": [{"id": 7, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "cat"}],
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("sets")
    return {"coco": make_coco(parent), "voc": make_voc(parent), "yolo": make_yolo(parent)}


@fuzzed
@given(train=changed_json(COCO), val=st.none() | changed_json(COCO))
def test_coco(train, val, sets):
    with new_folder() as root:
        for split, content in (("train", train), ("val", val if val is not None else json.dumps(COCO).encode())):
            (root / split).symlink_to(sets["coco"] / "train")
            (root / f"{split}.json").write_bytes(content)
        obeys_the_rule(lambda: read_boxes("coco", root))


@fuzzed
@given(changed_json(COCO))
def test_coco__in_the_layouts_of_other_tools(sets, content):
    with new_folder() as root:
        (root / "images").symlink_to(sets["coco"] / "train")
        (root / "result.json").write_bytes(content)
        obeys_the_rule(lambda: [read_coco(str(root), PLACES, FILES, split) for split in PLACES])


YOLO = {
    "names": ["cat", "dog"],
    "train": "../train/images",
    "val": "../valid/images",
    "nc": 2,
    "path": ".",
    "kpt_shape": [2, 3],
}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ODD_YAML = (
    *("2001-99-99", "!!timestamp x", "!!int x", "!!int ''", "!!float ''", "!!bool x", "!!binary é", "!!set {a}"),
    *(
        "!!python/object/apply:os.system [true]",
        "!!python/name:os.system",
        "0x",
        "0b",
        "1:99:99",
        "9" * 5000,
        "=",
        "<<",
    ),
    *(
        "[" * 2000,
        "{a: " * 2000,
        "- " * 2000,
        "? " * 2000,
        "&a [*a]",
        "*a",
        "{[a]: b}",
        "{{a: b}: c}",
        "|\n x",
        "!!omap [a]",
        "!!pairs x",
    ),
)


def yaml_files() -> st.SearchStrategy[bytes]:
    plain = yaml.safe_dump(YOLO).encode()
    keys = st.sampled_from(["names", "train", "val", "nc", "path", "kpt_shape"])
    odd = st.tuples(keys, st.sampled_from(ODD_YAML))
    with_odd = odd.map(lambda pair: plain + f"{pair[0]}: {pair[1]}\n".encode())
    bombs = keys.map(lambda key: BOMB.encode() + plain + f"{key}: *i\n".encode())
    return changed_values(YOLO).map(lambda value: to_text(value).encode()) | changed_bytes(plain) | with_odd | bombs


@fuzzed
@given(yaml_files())
def test_yolo__settings(sets, content):
    with new_folder() as root:
        for name in ("train", "valid"):
            (root / name).symlink_to(sets["yolo"] / name)
        (root / "data.yaml").write_bytes(content)
        obeys_the_rule(lambda: read_boxes("yolo", root))


LABELS = b"1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3\n"
LABEL_WORDS = st.sampled_from(("0", "1", "0.5", "1e-320", "nan", "inf", "-inf", "1e400", "-0", "0.0001", "1_0", *TEXTS))


@fuzzed
@given(
    names=changed_bytes(b"cat\ndog\n"),
    lists=changed_bytes(b"images/train/train0.jpg\nimages/train/train1.jpg\n")
    | st.sampled_from(TEXTS).map(lambda text: text.encode("utf-8", "surrogatepass")),
    labels=changed_bytes(LABELS)
    | st.lists(LABEL_WORDS, max_size=8).map(lambda words: " ".join(words).encode("utf-8", "surrogatepass")),
    changed=st.sampled_from(("names", "lists", "labels")),
)
def test_yolo__names_lists_and_labels(sets, names, lists, labels, changed):
    with new_folder() as root:
        (root / "images").mkdir()
        (root / "images" / "train").symlink_to(sets["yolo"] / "train" / "images")
        (root / "labels" / "train").mkdir(parents=True)
        (root / "classes.txt").write_bytes(names if changed == "names" else b"cat\ndog\n")
        (root / "labels" / "train" / "train0.txt").write_bytes(labels if changed == "labels" else LABELS)
        (root / "labels" / "train" / "train1.txt").write_bytes(LABELS)
        if changed == "lists":
            (root / "train.txt").write_bytes(lists)
        obeys_the_rule(lambda: read_boxes("yolo", root))


XML = """<?xml version="1.0" encoding="{encoding}"?>{doctype}
<annotation><size><width>{width}</width><height>{height}</height></size><object><name>{name}</name>
<difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>
</bndbox></object>{more}</annotation>"""
FIELDS = {
    **{"encoding": "UTF-8", "doctype": "", "width": "90", "height": "70", "name": "dog", "difficult": "0", "more": ""},
    **{"xmin": "1", "ymin": "11", "xmax": "40", "ymax": "50"},
}
LAUGHS = "<!DOCTYPE annotation [<!ENTITY a 'ha'>{}]>".format(
    "".join(
        f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
)
ODD_FIELDS = {
    "encoding": (
        "utf-16",
        "latin-1",
        "ebcdic",
        "utf-7",
        "big5",
        "shift_jis",
        "x" * 5000,
        "idna",
        "hex",
        "rot13",
        "unicode_escape",
        "punycode",
    ),
    "doctype": (
        LAUGHS,
        '<!DOCTYPE annotation [<!ENTITY l SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd">',
        "<!DOCTYPE annotation [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]>",
        f"<!DOCTYPE annotation [<!ENTITY l '{'x' * 100_000}'>]>",
    ),
    "name": ("&l;", "&l;" * 1000, "&amp;", "person"),
    "more": (
        "<a>" * 100_000,
        "<a>" * 50_000 + "</a>" * 50_000,
        f'<a b="{"x" * 1_000_000}"/>',
        "<object/>",
        "<object>" * 100 + "</object>" * 100,
    ),
}


@st.composite
def xml_files(draw: st.DrawFn) -> bytes:
    fields = dict(FIELDS)
    for key in draw(st.lists(st.sampled_from(list(FIELDS)), max_size=3)):
        fields[key] = draw(
            st.sampled_from((*ODD_FIELDS.get(key, ()), "1e400", "nan", "-1", "0", "9" * 5000, "9" * 25, "x", ""))
        )
    if draw(st.booleans()):
        fields["doctype"], fields["name"] = draw(st.sampled_from(ODD_FIELDS["doctype"])), "&l;"
    content = XML.format(**fields).encode()
    return draw(changed_bytes(content)) if draw(st.integers(0, 2)) == 0 else content


def voc_root(root: Path, sets: dict[str, Path]) -> Path:
    """A copy whose annotations and lists may be changed."""
    for lists in LISTS.values():
        for place, _ in lists:
            year = place.split("/")[0]
            (root / year / "Annotations").mkdir(parents=True, exist_ok=True)
            (root / year / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes((sets["voc"] / place).read_bytes())
            for file in (sets["voc"] / year / "Annotations").iterdir():
                (root / year / "Annotations" / file.name).write_bytes(file.read_bytes())
            if not (root / year / "JPEGImages").exists():
                (root / year / "JPEGImages").symlink_to(sets["voc"] / year / "JPEGImages")
    return root


@fuzzed
@given(content=xml_files(), name=st.sampled_from(["VOC2007/Annotations/000005.xml", "VOC2007/Annotations/000001.xml"]))
def test_voc__annotations(sets, content, name):
    with new_folder() as folder:
        root = voc_root(folder, sets)
        (root / name).write_bytes(content)
        obeys_the_rule(lambda: read_boxes("voc", root))


@fuzzed
@given(
    content=changed_bytes(b"000005\n000007\n")
    | st.sampled_from(TEXTS).map(lambda text: text.encode("utf-8", "surrogatepass")),
    place=st.sampled_from([place for lists in LISTS.values() for place, _ in lists]),
)
def test_voc__lists(sets, content, place):
    with new_folder() as folder:
        root = voc_root(folder, sets)
        (root / place).write_bytes(content)
        obeys_the_rule(lambda: read_boxes("voc", root))
