"""Fixtures of the tests of readers: no cache of the user, no pauses, and prepared data of each kind."""

from pathlib import Path

import pytest

from files import make_coco, make_masks


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What is kept between runs, kept elsewhere; and a file that is not there is not asked for again."""
    from dotcom import stores
    from dotcom.annotations import folders

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "CACHE", tmp_path_factory.mktemp("cache"))
        patch.setattr(stores, "PAUSES", ())
        yield


@pytest.fixture(scope="session")
def shards(tmp_path_factory, make_photos) -> dict[str, Path]:
    """Prepared shards of each kind."""
    from dotcom.data.preparation import prepare  # here, for the tests that do without are spared it
    from dotcom.data.prepare import checked, options_of
    from every_reader import TARGETS

    made = {}
    for kind, make in (("labels", make_photos), ("boxes", make_coco), ("masks", make_masks)):
        parent = tmp_path_factory.mktemp(kind)
        words = [f"data={TARGETS[kind]}", f"data.root={make(parent)}", "--shards", "--shard-images=3", "--side=64"]
        options = options_of([*words, f"--out={parent / 'out'}"])
        (parent / "out").mkdir()
        prepare(checked(options), options)
        made[kind] = parent / "out"
    return made
