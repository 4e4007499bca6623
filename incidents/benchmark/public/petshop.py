"""Amazon's PetShop (Hardt et al., CLeaR 2024): metrics of 41 services every five minutes, faults injected into one of them.

``<traffic>/{graph.csv, noissue/metrics.csv, train|test/issue_N/{metrics.csv, target.json}}``. The half hour of an issue
follows the last twelve hours of its traffic's ``noissue``, moved in time to end where the issue's file begins. A traffic
without one (``temporal_*``) takes that of the traffic whose requests at the issue's target are nearest: a proxy. Quiet
windows are pieces of ``noissue`` as long as an issue, each after twelve hours of the same file.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from collectors.errors import BadInput
from incidents.benchmark.public.metric_table import Column, MetricTable
from incidents.benchmark.public.ranked_case import QuietCase, RankedCase

_HEAD = ("microservice", "metric", "statistic", "unix_timestamp")
_NORMAL_ROWS, _ISSUE_ROWS, _QUIET_WINDOWS = 144, 6, 8
_UNITS = {"latency": "s", "availability": "%", "requests": "1"}
Calls = frozenset[tuple[str, str]]


def petshop(folder: Path) -> tuple[list[RankedCase], list[QuietCase]]:
    """The issues, of ``train`` and of ``test`` as far as they are there, and the quiet windows. Raises BadInput for a folder
    of another layout."""
    traffics = sorted(path.parent for path in folder.glob("*/graph.csv"))
    if not traffics:
        raise BadInput(f"{folder}: holds no <traffic>/graph.csv; give the folder of high_traffic and low_traffic")
    graphs = {traffic.name: read_graph(traffic / "graph.csv") for traffic in traffics}
    normal = {path.parent.parent.name: read_metrics(path) for path in sorted(folder.glob("*/noissue/metrics.csv"))}
    if not normal:
        raise BadInput(f"{folder}: no traffic holds noissue/metrics.csv, so nothing says what is normal")
    issues = [
        _issue(path.parent, graphs[traffic.name], normal)
        for traffic in traffics for split in ("train", "test") for path in sorted((traffic / split).glob("issue_*/metrics.csv"))
    ]  # fmt: skip
    if not issues:
        raise BadInput(f"{folder}: holds no <traffic>/train/issue_N/metrics.csv, nor any in test")
    return issues, [case for name, table in normal.items() for case in _quiet(name, table, graphs[name])]


def read_graph(path: Path) -> Calls:
    """Who calls whom: an adjacency matrix, callers down, callees across."""
    rows = list(csv.reader(path.read_text().splitlines()))
    names = rows[0][1:] if rows else []
    if not names:
        raise BadInput(f"{path}: line 1 must name the services, as PetShop's graph.csv does")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names) + 1 or not set(row[1:]) <= {"0", "1", "0.0", "1.0"}:
            raise BadInput(f"{path}: line {number} is no row of 0 and 1 for {len(names)} services")
    pairs = ((row[0], callee, float(cell)) for row in rows[1:] for callee, cell in zip(names, row[1:], strict=True))
    return frozenset((caller, callee) for caller, callee, calls in pairs if calls and caller != callee)


def read_metrics(path: Path) -> MetricTable:
    """A ``metrics.csv``: three rows of heads, then one row a time. Raises BadInput naming file, line and value."""
    rows = list(csv.reader(path.read_text().splitlines()))
    for number, name in enumerate(_HEAD):
        if len(rows) <= number or rows[number][:1] != [name]:
            raise BadInput(f"{path}: line {number + 1} must begin with {name!r}, as PetShop's metrics.csv does")
    columns = tuple(
        Column(service, metric, (("statistic", statistic),), _UNITS.get(metric, ""), _kind(service))
        for service, metric, statistic in zip(rows[0][1:], rows[1][1:], rows[2][1:], strict=True)
    )  # fmt: skip
    values = np.empty((len(rows) - 4, len(columns) + 1))
    for i, row in enumerate(rows[4:]):
        try:
            values[i] = [float(cell) if cell else math.nan for cell in row]
        except ValueError as error:
            fix = f"give a number or nothing in each of {len(columns)} columns"
            raise BadInput(f"{path}: line {i + 5}: {error}; {fix}") from error
    if len(values) < 2 or not (np.diff(values[:, 0]) > 0).all():
        raise BadInput(f"{path}: unix_timestamp must rise over at least two lines")
    return MetricTable(values[:, 0], columns, values[:, 1:])


def _kind(service: str) -> str:
    """X-Ray's node type ends a name: a ``remote`` node is a peer as its callers see it, no service that was measured."""
    return "link" if service.endswith("_remote") else "service"


def _issue(folder: Path, calls: Calls, normal: dict[str, MetricTable]) -> RankedCase:
    traffic = folder.parent.parent.name
    table, told = read_metrics(folder / "metrics.csv"), _told(folder / "target.json")
    node = str(told["target"]["node"])
    seen_by = f"{told['target']['metric']}/{told['target']['agg']}"
    before = normal.get(traffic) or min(normal.values(), key=lambda one: abs(_asked(one, node) - _asked(table, node)))
    normal_part = before.rows(-_NORMAL_ROWS, len(before.times_s)).moved(float(table.times_s[0]) - before.end_s)
    return RankedCase(
        f"{traffic}/{folder.parent.name}/{folder.name}", normal_part.followed_by(table),
        float(told["target"]["timestamp"]), node, seen_by, calls, partial(_blamed, folder / "target.json"),
    )  # fmt: skip


def _told(path: Path) -> Any:
    try:
        told = json.loads(path.read_text())
        float(told["target"]["timestamp"]), [told["target"][key] for key in ("node", "metric", "agg")]
        told["root_cause"]["node"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}: needs target's node, metric, agg and timestamp, and root_cause.node ({error!r})") from error
    return told


def _blamed(path: Path) -> tuple[str, ...]:
    return (str(_told(path)["root_cause"]["node"]),)


def _asked(table: MetricTable, service: str) -> float:
    """Requests of a service per row, in log, since traffics differ by factors."""
    for i, column in enumerate(table.columns):
        if column.service == service and column.name == "requests":
            return math.log(max(1.0, float(np.nanmedian(table.values[:, i]))))
    return 0.0


def _quiet(traffic: str, table: MetricTable, calls: Calls) -> Iterator[QuietCase]:
    starts = np.linspace(_NORMAL_ROWS, len(table.times_s) - _ISSUE_ROWS, _QUIET_WINDOWS).astype(int)
    for number, start in enumerate(starts.tolist()):
        if start >= _NORMAL_ROWS:
            yield QuietCase(f"{traffic}/noissue/{number}", table.rows(start - _NORMAL_ROWS, start + _ISSUE_ROWS), calls)
