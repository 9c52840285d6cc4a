"""Bytes that nobody listed: mutations of tiny valid files, and the rule that every reader of such bytes obeys.

The rule: a result, or a ``UsageError`` of one line, in little time and memory; never another exception.
``FUZZ_EXAMPLES=5000 FUZZ_SECONDS=2 pytest tests/fuzz`` tries that many new examples each time; without it a few that
are always the same are tried.
"""

import json
import os
import re
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dotcom.errors import UsageError
from dotcom.text import visible

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))  # a busy machine stops a reader for a while
MEMORY = 500 * 2**20  # bytes beyond what the process has already
LONGEST = 3000  # characters of an error: a few paths, and what was expected
FEW = 50

TEXTS = (
    *(
        "",
        " ",
        "..",
        "../../x",
        "/etc/passwd",
        "C:\\x",
        "a\\b",
        ".",
        "~",
        "~root",
        "a\0b",
        "\0",
        "\n",
        "a\nb",
        "\r",
        "\u2028",
    ),
    *("\x1b[31m", "\ud800", "\udce9.jpg", "é", "é", "{x!r}", "%s", "${oc.env:HOME}", "=1+1", "a" * 300, "a/" * 3000),
    *("nan", "inf", "1e400", "-1", "7", "7.0", "0x10", "1_000", "\u0663", "true", "null", "9" * 5000, "s3://a/b"),
)
NUMBERS = (0, 1, -1, 2, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e300, 1e308)
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "9" * 5000,
    "-" + "9" * 5000,
    "[" * 100_000,
    '{"a":' * 100_000,
    "",
    "'a'",
)

scalars = st.one_of(
    *(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS)),
    *(st.integers(-5, 300), st.floats(), st.text(max_size=8)),
)
values = st.recursive(
    scalars | st.sampled_from(RAW).map(lambda raw: {"raw": raw}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Hypothesis as these tests use it: the same few examples everywhere, or many new ones."""
    few = settings(
        max_examples=EXAMPLES or FEW,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return few(test)


def obeys_the_rule(read: Callable[[], Any], *others: type[Exception]) -> Any:
    """Call a reader of foreign bytes.

    Args:
        read: The call.
        others: What this reader raises by its contract, because its callers name the file.

    Returns:
        What it returned, or what it raised.
    """
    try:
        with limits(), warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            return read()
    except (UsageError, *others) as error:
        said = str(error)
        assert said, "no words"
        assert len(visible(said)) <= LONGEST, said[:LONGEST]
        assert not re.search(r"[\r\n]", said), said
        return error


@contextmanager
def limits() -> Iterator[None]:
    """Within it, a hang and too much memory are errors."""

    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with limited_memory():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def limited_memory() -> Iterator[None]:
    """Within it, this process gets ``MEMORY`` more bytes at most, where the system tells what it has."""
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    data = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, (data * 1024 + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder of one example; its name was never there before, so that no cache knows it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each node of a JSON value."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


@st.composite
def changed_values(draw: st.DrawFn, content: Any) -> Any:
    """The same JSON value, with one to three nodes replaced, removed or doubled."""
    changed = {"top": json.loads(json.dumps(content))}
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        *above, last = draw(st.sampled_from(list(places(changed))[1:]))
        parent = changed
        for key in above:
            parent = parent[key]
        what = draw(st.sampled_from(("replace", "replace", "replace", "remove", "double", "rename")))
        if what == "replace" or not above:
            parent[last] = draw(values)
        elif what == "double":
            if isinstance(parent, list):
                parent.append(parent[last])
            else:
                parent[draw(st.text(max_size=4))] = parent[last]
        elif what == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(TEXTS))] = parent.pop(last)
        else:
            parent.pop(last)
    return changed["top"]


def to_text(content: Any) -> str:
    """JSON in which ``{"raw": TEXT}`` is that text."""
    raw: list[str] = []

    def marked(node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"raw"} and node["raw"] in RAW:
                raw.append(node["raw"])
                return f"@raw{len(raw) - 1}@"
            return {key: marked(value) for key, value in node.items()}
        return [marked(value) for value in node] if isinstance(node, list) else node

    return re.sub(r'"@raw(\d+)@"', lambda match: raw[int(match[1])], json.dumps(marked(content)))


def changed_json(content: Any) -> st.SearchStrategy[bytes]:
    """The bytes of a JSON file that was mutated, as a value or as bytes."""
    as_values = changed_values(content).map(lambda value: to_text(value).encode())
    return as_values | changed_bytes(json.dumps(content).encode())


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The same bytes, damaged in one to four ways."""
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 4)))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        end = draw(st.integers(at, min(len(content), at + 64)))
        how = draw(st.sampled_from(WAYS))
        content = how(content, at, end, draw)
    return content


def _encoded(encoding: str, errors: str = "replace") -> Callable[..., bytes]:
    return lambda content, at, end, draw: content.decode("latin-1").encode(encoding, errors)


WAYS: tuple[Callable[[bytes, int, int, st.DrawFn], bytes], ...] = (
    lambda content, at, end, draw: content[:at],
    lambda content, at, end, draw: content[at:],
    lambda content, at, end, draw: content[:at] + content[end:],
    lambda content, at, end, draw: content[:end] + content[at:],
    lambda content, at, end, draw: content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[end:],
    lambda content, at, end, draw: content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at:],
    lambda content, at, end, draw: (
        content[:at] + draw(st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\x7f\xff"))) + content[at + 4 :]
    ),
    lambda content, at, end, draw: content[:at] + draw(st.sampled_from(BITS)) + content[at + 1 :],
    lambda content, at, end, draw: content[:at] + draw(st.sampled_from(WORDS)) + content[end:],
    _encoded("utf-16"),
    _encoded("utf-16-le"),
    _encoded("utf-32"),
    _encoded("utf-8-sig"),
    lambda content, at, end, draw: b"",
    lambda content, at, end, draw: content * 2,
)
BITS = [bytes([1 << bit]) for bit in range(8)] + [b"\0", b"\xff", b"\n", b'"']
WORDS = [text.encode("utf-8", "surrogatepass") for text in (*TEXTS, *RAW)]
