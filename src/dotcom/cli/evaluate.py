"""``dotcom evaluate``: the scores of a checkpoint, on its own or other data of the same task."""

import argparse
from pathlib import Path

from dotcom.errors import listed
from dotcom.inference.other_data import data_config
from dotcom.inference.saved_run import saved_run
from dotcom.record import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""
    parser.add_argument("ckpt", type=Path, metavar="CKPT", help="best.ckpt or last.ckpt of a run")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="data.KEY=VALUE",
        help="such as data.root=PATH or data.batch_size=64; or data=CHOICE, another set with these classes or fewer",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Validate once and print what came out."""
    saved = saved_run(arguments.ckpt)
    config = data_config(saved, arguments.overrides)

    from dotcom.inference.evaluation import evaluate
    from dotcom.report import class_table, score_table
    from dotcom.text import make_console, visible

    result = evaluate(saved, config)
    source = str(config["dataset"]["_target_"]).rpartition(".")[2]
    if arguments.json:
        facts = {"checkpoint": str(arguments.ckpt), "data": source, "root": config.get("root")}
        facts |= {"classes": result.classes, "images": result.images, "scores": result.scores}
        print(to_json(facts | {"per_class": result.per_class}))
        return 0
    console = make_console()
    console.print(visible(f"{arguments.ckpt} on {source}, {result.images:,} images"), soft_wrap=True)
    if absent := [name for name in saved.classes if name not in result.classes]:
        counts = f"over {len(result.classes)} of the {len(saved.classes)} classes that the checkpoint knows"
        console.print(visible(f"{counts}, among which it chooses; not in these data: {listed(absent)}"), soft_wrap=True)
    elif result.classes != saved.classes:
        console.print("classes matched by name: their order is another than that of the checkpoint", soft_wrap=True)
    if result.per_class:
        console.print(class_table(result.per_class))
    console.print(score_table(result.scores, (f"{result.images / result.seconds:.0f}", f"{result.seconds / 60:.1f}")))
    return 0
