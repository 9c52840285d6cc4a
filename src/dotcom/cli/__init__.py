"""The command ``dotcom``: what one does with a checkpoint.

Arguments are plain, not Hydra's, and read before anything heavy is imported.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from dotcom.credentials import check_credentials
from dotcom.errors import one_line_errors

COMMANDS = {
    "predict": "classes, boxes or masks of pictures",
    "evaluate": "measure a checkpoint on its own or other data",
    "export": "write a file for a runtime, and prove that it computes the same",
    "benchmark": "latency of networks and exported files, in turns",
    "summary": "stages, shapes, parameters and MACs of a network",
    "demo": "a page in the browser to try a checkpoint",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 if something of what was asked failed, 2 for a mistake."""
    with one_line_errors():  # around the parser, too, whose --help may have no reader any more
        parser = argparse.ArgumentParser(prog="dotcom", description="What one does with a checkpoint of dotcom.")
        commands = parser.add_subparsers(required=True, metavar="COMMAND")
        for name, what in COMMANDS.items():
            import_module(f"dotcom.cli.{name}").add_arguments(commands.add_parser(name, help=what, description=what))
        words = list(sys.argv[1:] if argv is None else argv)
        check_credentials(words)
        chosen = words[0] if words and words[0] in COMMANDS else None
        # by itself, argparse would refuse data.root=PATH and further paths once an option stands between
        arguments = commands.choices[chosen].parse_intermixed_args(words[1:]) if chosen else parser.parse_args(words)
        code: int = import_module(f"dotcom.cli.{chosen}").run(arguments)
    return code
