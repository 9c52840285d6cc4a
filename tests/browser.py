"""A real browser without a window, for pages that must work in one."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=10000")
SECONDS = 120
DRIVER = """<!DOCTYPE html><meta charset="utf-8"><body>
<iframe style="border:0; width:WIDTHpx; height:900px"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  document.body.dataset.result = JSON.stringify((() => { CHECK })());
};
frame.srcdoc = PAGE;
</script></body>"""


class Document(HTMLParser):
    """The text of each cell of the named tables, and all attributes of all elements."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.table: list[list[str]] | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            name = dict(attrs).get("data-table")
            self.table = self.tables.setdefault(name, []) if name else None
        if self.table is not None and tag == "tr":
            self.table.append([])
        if self.table is not None and tag in ("td", "th"):
            self.table[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.table and self.table[-1]:
            self.table[-1][-1] += data.strip("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.table = None


def browser() -> str:
    """The browser's path; skips the test where there is none, but fails it in CI."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser found, looked for {', '.join(NAMES)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def opened(page: Path, folder: Path) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what it wrote to the console, errors of the browser about it included."""
    logging = ("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}")
    command = [browser(), *FLAGS, *logging, "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout, re.findall(r"CONSOLE[:(]\d+\)?\] (.*)", done.stderr)


def evaluated(page: Path, folder: Path, check: str, width: int = 1280) -> object:
    """What the body of a function returns inside the page, ``page`` its document and ``view`` its window.

    Args:
        page: An HTML file.
        folder: For temporary files.
        check: JavaScript with a ``return``; its value as JSON.
        width: Of the page, in CSS pixels; smaller than a window of the browser could be.
    """
    source = json.dumps(page.read_text()).replace("<", "\\u003c")
    driver = folder / "driver.html"
    driver.write_text(DRIVER.replace("WIDTH", str(width)).replace("CHECK", check).replace("PAGE", source))
    document, console = opened(driver, folder)
    result = re.search(r'data-result="([^"]*)"', document)
    assert result, f"the check did not run: {console}"
    return json.loads(result[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
