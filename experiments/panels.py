"""Panels of W&B for what the runs of a sweep logged; ``experiments.dashboard`` puts them to use."""

import re
from itertools import groupby
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from experiments.wandb_runs import Logged

from dotcom.errors import UsageError, flat

STEP = "trainer/global_step"  # what Lightning counts; W&B's own step counts rows
HALF, WIDE = {"w": 12, "h": 8}, {"w": 24, "h": 12}  # of the 24 columns of a report


def build(logged: Logged, table: str, project: str, entity: str) -> tuple[ws.Workspace, wr.Report]:
    """A workspace, and a report with the table, over the same panels.

    Args:
        logged: By the runs of the sweep.
        table: The ablation table, in Markdown.
        project: Where the runs are.
        entity: Whose project it is.
    """
    scores = bars(logged)
    sections = {title: panels(logged, names) for title, names in logged.sections.items()}
    first = {"Ablation": [wr.MarkdownPanel(markdown=table, layout=wr.Layout(**WIDE)), *scores]}
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=re.sub(r"[^\w .,-]", "-", logged.sweep),  # W&B takes = for an emoji
        sections=[ws.Section(name=title, panels=shown, is_open=True) for title, shown in (first | sections).items()],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=logged.runs),
        runset_settings=ws.RunsetSettings(filters=of_sweep(logged.sweep)),
    )
    blocks = [wr.H2("Ablation"), wr.MarkdownBlock(text=table), grid(logged.sweep, scores)]
    for title, shown in sections.items():
        blocks += [wr.H2(title), grid(logged.sweep, shown)]
    title = f"Sweep {logged.sweep}"[:128]  # no longer than W&B takes
    return workspace, wr.Report(project=project, entity=entity, title=title, blocks=blocks, width="fluid")


def grid(sweep: str, shown: list[Any]) -> wr.PanelGrid:
    """Panels over the runs of the sweep, in the project of the report."""
    return wr.PanelGrid(runsets=[wr.Runset(name=sweep, filters=of_sweep(sweep))], panels=shown)


def of_sweep(name: str) -> str:
    """The filter for the runs of a sweep, escaped because W&B rewrites ``=``, ``<`` and ``>`` also within quotes."""
    escaped = "".join(f"\\U{ord(character):08x}" for character in name)
    return f"Metric('Group') = '{escaped}'"


def by_arm(logged: Logged) -> dict[str, Any]:
    """The mean of the seeds of an arm, and a band from the lowest to the highest."""
    key = wr.Config("arm") if logged.arms else wr.Metric("Group")
    bands = {"groupby": key, "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    return bands | {"max_runs_to_show": logged.runs}  # W&B's default leaves out all but 10


def bars(logged: Logged) -> list[wr.BarPlot]:
    """The monitored score of each arm."""
    return [wr.BarPlot(title=f"{name}, last epoch", metrics=[name], **by_arm(logged)) for name in logged.monitors]


def panels(logged: Logged, names: list[str]) -> list[Any]:
    """One panel for each number, picture or table; one for the histograms that share a block."""
    shown: list[Any] = []
    for (kind, parent), group in groupby(names, lambda name: place(name, logged.values[name])):
        members = list(group)
        if kind == "number":
            shown += [wr.LinePlot(title=name, x=STEP, y=[name], **by_arm(logged)) for name in members]
        elif kind == "table-file":
            shown += [confusion(name) for name in members]
        elif kind == "histogram":
            shown.append(media(parent, members, HALF))
        else:
            shown += [media(name, [name], WIDE) for name in members]
    return shown


def place(name: str, value: Any) -> tuple[str, str]:
    """W&B's type of a value, and what stands before the last slash of its name."""
    return value["_type"] if isinstance(value, dict) else "number", name.rpartition("/")[0]


def media(title: str, names: list[str], size: dict[str, int]) -> wr.MediaBrowser:
    """Pictures or histograms, with a slider over the steps."""
    return wr.MediaBrowser(title=title, media_keys=names, layout=wr.Layout(**size))


def confusion(name: str) -> wr.CustomChart:
    """The chart that ``wandb.plot.confusion_matrix`` asks for, from its table."""
    columns = ("Actual", "Predicted", "nPredictions")
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": name}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields={column: column for column in columns},
        chart_strings={"title": name.removesuffix("_table")},
        layout=wr.Layout(**WIDE),
    )


def specification(part: ws.Workspace | wr.Report) -> dict[str, Any]:
    """What the server would get, as JSON; made without it."""
    return part._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def publish(workspace: ws.Workspace, report: wr.Report) -> None:
    """Make both on the server.

    Raises:
        UsageError: Without a key or a network, or if the project is not there.
    """
    from dotcom.loggers import obstacle

    if why := obstacle():
        raise UsageError(f"--publish: {why}; what would be sent is written already")
    try:
        workspace.entity = report.entity = workspace.entity or wandb.Api().default_entity
        for block in report.blocks:
            for runs in getattr(block, "runsets", []):
                runs.entity, runs.project = report.entity, report.project
        workspace.save()
        report.save()
    except (ValueError, wandb.Error) as error:
        raise UsageError(f"--publish: {flat(str(error))}") from error
