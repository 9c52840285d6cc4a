"""SECURITY.md promises nothing that is not tested."""

import re

from conftest import REPO


def test_promise__has_tests_that_exist():
    text = (REPO / "SECURITY.md").read_text()
    known = {
        name
        for path in (REPO / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    promises, _, beyond = text.partition("## Out of reach")
    rows = [
        line for line in promises.splitlines() if line.startswith("| ") and not line.startswith(("| |", "| promise"))
    ]
    tested = [row for row in rows if "`test_" in row]
    assert len(tested) > 25
    assert [row for row in rows if row not in tested and row.count("|") == 3] == []
    assert set(re.findall(r"`(test_\w+)`", text)) <= known
    assert "test_" not in beyond
