"""``dotcom evaluate``."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    raise NotImplementedError
