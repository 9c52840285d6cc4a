"""The W&B dashboard of a sweep as code: a workspace and a report that group its runs by arm.

    python -m experiments.dashboard runs/sweep/NAME              writes NAME/dashboard/workspace.json and report.json
    python -m experiments.dashboard runs/sweep/NAME --publish    and makes both on the server; needs a key

It reads the files that the runs of the sweep left for W&B, offline or online, and names nothing that no run logged.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from experiments.wandb_runs import read_logged

from dotcom.errors import UsageError, one_line_errors
from dotcom.record import write_json

INSTALL = "it needs wandb-workspaces: pip install 'dotcom[dashboard]'"


def table(folder: Path) -> str:
    """The ablation table in Markdown, or why there is none."""
    from experiments.formats import markdown
    from experiments.study import read_study

    try:
        return markdown(read_study([folder]))
    except UsageError as error:
        return f"No table yet: {error}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the specification; send it, or say how to."""
    command = argparse.ArgumentParser("python -m experiments.dashboard", description="The W&B dashboard of a sweep.")
    command.add_argument("sweep", type=Path, metavar="SWEEP", help="folder of a sweep with logger=wandb")
    command.add_argument("--project", help="default: that of the runs")
    command.add_argument("--entity", help="user or team (default: that of the runs, then yours)")
    command.add_argument("--publish", action="store_true", help="make workspace and report on the server")
    options = command.parse_args(arguments)
    try:
        from experiments.panels import build, publish, specification  # an extra; --help needs none
    except ModuleNotFoundError as error:
        if error.name != "wandb_workspaces":
            raise
        raise UsageError(INSTALL) from None
    logged = read_logged(options.sweep)
    project, entity = options.project or logged.project, options.entity or logged.entity
    workspace, report = build(logged, table(options.sweep), project, entity)
    folder = options.sweep / "dashboard"
    folder.mkdir(exist_ok=True)
    write_json(folder / "workspace.json", specification(workspace))
    write_json(folder / "report.json", specification(report))
    for pattern in logged.missing:
        print(f"no run logged {pattern}: no panel for it")
    print(f"{logged.runs} runs of {logged.sweep}: {folder}/workspace.json and report.json")
    if options.publish:
        publish(workspace, report)  # W&B prints where they are
    else:
        place, sweep = {"project": options.project, "entity": options.entity}, quote(str(options.sweep))
        said = "".join(f" --{name} {value}" for name, value in place.items() if value)
        print(f"to publish, send the runs:  wandb sync{said} {sweep}/*/wandb/offline-run-*")
        print(f"then both of these:         {command.prog} {sweep}{said} --publish")


if __name__ == "__main__":
    with one_line_errors():
        main()
