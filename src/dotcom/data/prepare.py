"""Make the images of a data set smaller, once, so that every epoch reads and decodes less.

    python -m dotcom.data.prepare data=imagenet data.root=PATH --out PREPARED            # a folder like the source
    python -m dotcom.data.prepare data=imagenet data.root=PATH --out PREPARED --shards   # to stream, also from S3
    python -m dotcom.data.prepare --verify PREPARED                                      # read and check every file

Images whose shorter side is longer than --side become JPEGs of that side; others keep every byte. Validation images of
boxes and masks keep their size, because their scores are measured in it. Then: train.py data=imagenet
data.root=PREPARED. A preparation that was stopped goes on with the same command.
"""

import argparse
from pathlib import Path
from typing import Any, cast

from dotcom.errors import UsageError, one_line_errors

SHARD_IMAGES = 1000  # in each shard
EXTRA = 1.125  # shorter side over image_size: validation resizes to as much before it cuts the centre
SMALL = {
    "voc": "its photos have 500x375 pixels or less: prepared ones would hardly be smaller",
    "voc_detection": "its photos have 500x375 pixels or less: prepared ones would hardly be smaller",
    "yolo_format": "files in YOLO's format are read as they are only; export them in COCO's format to prepare them",
}
IN_MEMORY = "its images are small and lie in memory: there is nothing to prepare"


def options_of(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dotcom.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="data=CHOICE, data.root=PATH, as in train.py")
    parser.add_argument("--out", type=Path, metavar="PREPARED", help="a new or empty folder, or one to go on with")
    parser.add_argument("--side", type=int, help="shorter side in pixels (1.125 x image_size: 288 for data=imagenet)")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs, 1 to 100 (90)")
    parser.add_argument("--shards", action="store_true", help="write shards instead of single files")
    parser.add_argument("--shard-images", type=int, help="images in each shard (1000)")
    parser.add_argument("--workers", type=int, help="threads (one for each core)")
    parser.add_argument("--strict", action="store_true", help="stop at an unreadable image instead of leaving it out")
    parser.add_argument("--verify", type=Path, metavar="PREPARED", help="check every file of a prepared folder")
    return parser.parse_args(words)


def checked(options: argparse.Namespace) -> dict[str, Any]:
    """The ``data`` of the configuration that the overrides stand for, after all checks that need no image.

    Raises:
        UsageError: One line that names what is wrong.
    """
    if options.out is None:
        raise UsageError("--out: expected a folder, as in data=imagenet data.root=PATH --out PREPARED")
    for name, least, most in (("quality", 1, 100), ("shard_images", 1, 1_000_000), ("side", 32, 4096)):
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value}: expected a number from {least} to {most}")
    if options.shard_images is None:
        options.shard_images = SHARD_IMAGES
    elif not options.shards:
        raise UsageError(f"--shard-images {options.shard_images}: expected --shards with it")
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: expected a number above 0")
    refuse_place(options.out)
    data = composed(options)
    if Path(root := str(data["root"])).expanduser().resolve() in options.out.resolve().parents:
        raise UsageError(f"--out {options.out}: it lies among the images of data.root={root}; expected it beside them")
    if options.shards:
        from dotcom.data.shards import check_extra

        check_extra()
    return data


def composed(options: argparse.Namespace) -> dict[str, Any]:
    """``data``, as plain values; ``--side`` follows from the image size if it was not given."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from dotcom.config import check_data, register_resolvers
    from dotcom.errors import CONF

    given = [word.partition("=")[0] for word in options.overrides]
    for word, key in zip(options.overrides, given, strict=True):
        if "=" not in word or not (key in ("data", "image_size") or key.startswith("data.")):
            raise UsageError(f"{word}: expected data=CHOICE, data.KEY=VALUE or image_size=PIXELS")
    if "data" not in given:
        raise UsageError("data: expected data=CHOICE, such as data=imagenet or data=image_folder")
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", options.overrides)
        defaults = compose("config", [word for word in options.overrides if word.startswith("data=")])
    options.choice = str(cfg.data.dataset._target_).rpartition(".")[2]
    refuse_others(options.choice, cfg.data.root)
    check_data(cfg, defaults)
    options.side = options.side or round(EXTRA * cfg.image_size)
    return cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=True, throw_on_missing=True))


def refuse_others(choice: str, root: str | None) -> None:
    """The source is a local folder of originals, and has something to gain."""
    from dotcom.object_store import is_remote
    from dotcom.prepared import KINDS, read_prepared

    if choice not in KINDS:
        why = SMALL.get(choice, IN_MEMORY)
        raise UsageError(f"data={choice}: {why}; expected data={' or data='.join(sorted([*KINDS, 'coco']))}")
    if is_remote(root):
        raise UsageError(f"data.root={root}: expected a local folder; its result can be uploaded")
    if facts := read_prepared(root):
        raise UsageError(f"data.root={root}: prepared already, to {facts['side']} pixels; expected the originals")


def refuse_place(out: Path) -> None:
    """The result is a folder of this machine."""
    from dotcom.object_store import is_remote

    if is_remote(spelled := str(out).replace(":/", "://", 1)):  # a Path has one slash less
        raise UsageError(f"--out {spelled}: expected a local folder; upload it afterwards")
    if next((path for path in (out, *out.parents) if path.exists()), Path()).is_file():
        raise UsageError(f"--out {out}: it is a file, or within one; expected a new or an empty folder")


def main() -> None:
    """Prepare, or check what was prepared."""
    options = options_of()
    if options.verify:
        from dotcom.data.verification import verify

        print(verify(options.verify))
        return
    data = checked(options)
    from dotcom.data.preparation import prepare

    print(prepare(data, options))


if __name__ == "__main__":
    with one_line_errors():
        main()
