"""The command ``dotcom``: what one does with a checkpoint. Plain arguments; heavy imports wait until they are read."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

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
    parser = argparse.ArgumentParser(prog="dotcom", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        import_module(f"dotcom.cli.{name}").add_arguments(commands.add_parser(name, help=what, description=what))
    arguments = parser.parse_args(argv)
    with one_line_errors():
        try:
            code: int = import_module(f"dotcom.cli.{arguments.command}").run(arguments)
        except BrokenPipeError:  # whoever read our output has enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
            return 1
    return code
