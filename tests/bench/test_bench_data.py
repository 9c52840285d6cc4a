"""The section of data compares loaders that load the same photos."""

import pytest

from dotcom.bench import data
from dotcom.bench.watch import Watch


@pytest.fixture
def found(tmp_path, monkeypatch) -> dict:
    """The rows, by name, over four photos and without an object store."""
    monkeypatch.setattr(data, "BATCH", 4)
    monkeypatch.setattr(data, "SIZE", 64)
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    watch = Watch("quick", work=lambda: None)
    with data.cache(tmp_path / "cache"):
        return {row.name: row for row in data.measured(tmp_path, 4, watch)}


def test_data_section__says_images_per_second_and_that_they_are_the_same(found):
    assert list(found) == ["classic", "default", "prepared", "shards", "shards from s3"]
    assert all(found[name].value > 0 for name in ("classic", "default", "prepared", "shards"))
    assert found["classic"].ratio is None
    assert found["prepared"].ratio.median > 1
    assert found["default"].difference <= 2
    assert found["shards"].difference == "those of prepared"
    assert found["shards from s3"].skipped == "it needs boto3, moto, flask: pip install 'dotcom[dev]'"
    assert "cores for 3,900 images/s" in found["default"].facts[0]
