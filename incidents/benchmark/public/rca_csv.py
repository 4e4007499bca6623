"""RCAEval's layout: ``<service>-<fault>`` or ``<service>_<fault>`` / number / ``normal.csv`` + ``anomalous.csv``, or
``data.csv`` + ``inject_time.txt``.

Columns are ``time`` (unix seconds) and ``<service>_<metric>``: cpu, mem (bytes), load, latency quantiles (seconds). There is
no graph. Whatever else lies there is ignored. The folder's name is the label, and is read when rankings are final. The quiet
window of a case is its own normal part.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from collectors.errors import BadInput
from incidents.benchmark.public.metric_table import Column, MetricTable
from incidents.benchmark.public.ranked_case import QuietCase, RankedCase

_UNITS = {"mem": "By", "latency": "s"}
_LAYOUT = "<service>-<fault>/<number>/ with normal.csv and anomalous.csv, or data.csv and inject_time.txt"
_USERS = ("front-end", "frontend", "front", "ts-ui-dashboard", "gateway", "istio-init")
"""Names of the service at which users are, the first that there is; else the alphabet decides."""


def rca_csv(folder: Path) -> tuple[list[RankedCase], list[QuietCase]]:
    """All cases below ``folder``. Raises BadInput for a folder of another layout."""
    cases, quiet = [], []
    for path in _case_folders(folder):
        normal, abnormal = _parts(path)
        name = f"{path.parent.name}/{path.name}"
        if abnormal.times_s[0] <= normal.times_s[-1]:  # each counted from its own zero
            abnormal = abnormal.moved(normal.end_s - float(abnormal.times_s[0]))
        table = normal.followed_by(abnormal)
        services = {column.service for column in table.columns}
        target = next((one for one in _USERS if one in services), min(services))
        label = partial(_blamed, path.parent.name, frozenset(services))
        cases.append(RankedCase(name, table, float(abnormal.times_s[0]), target, "", frozenset(), label))
        quiet.append(QuietCase(f"{name}/normal", normal, frozenset()))
    if not cases:
        raise BadInput(f"{folder}: holds no case; give a folder of {_LAYOUT}")
    return cases, quiet


def _case_folders(folder: Path) -> Iterator[Path]:
    """Folders named by a number in folders named by service and fault."""
    for path in sorted(folder.glob("*/*/"), key=lambda one: (one.parent.name, int(one.name) if one.name.isdigit() else 0)):
        has_data = (path / "data.csv").exists() or (path / "normal.csv").exists()
        if path.name.isdigit() and re.fullmatch(r".+[-_].+", path.parent.name) and has_data:
            yield path


def _parts(path: Path) -> tuple[MetricTable, MetricTable]:
    """Normal and abnormal."""
    if (path / "normal.csv").exists():
        if not (path / "anomalous.csv").exists():
            raise BadInput(f"{path}: has normal.csv and no anomalous.csv")
        return read_csv(path / "normal.csv"), read_csv(path / "anomalous.csv")
    table = read_csv(path / "data.csv")
    try:
        injected = float((path / "inject_time.txt").read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path / 'inject_time.txt'}: must hold the unix seconds of the fault ({error})") from error
    split = int(np.searchsorted(table.times_s, injected))
    if not 2 <= split < len(table.times_s):
        raise BadInput(f"{path / 'inject_time.txt'}: {injected:g} does not lie within data.csv, "
                       f"{table.times_s[0]:g} to {table.times_s[-1]:g}")
    return table.rows(0, split), table.rows(split, len(table.times_s))


def read_csv(path: Path) -> MetricTable:
    """One file of metrics. Raises BadInput naming file, line, column and value."""
    rows = list(csv.reader(path.read_text().splitlines()))
    if len(rows) < 3 or "time" not in rows[0]:
        raise BadInput(f"{path}: needs a head with a column 'time' and at least two lines")
    head = rows[0]
    clock = head.index("time")
    kept = [i for i, name in enumerate(head) if i != clock and _service_metric(name) is not None]
    if not kept:
        raise BadInput(f"{path}: no column is named <service>_<metric>, such as carts_cpu")
    values = np.full((len(rows) - 1, len(head)), math.nan)
    for number, row in enumerate(rows[1:]):
        for i in (clock, *kept):
            try:
                values[number, i] = float(row[i]) if row[i] else math.nan
            except (ValueError, IndexError) as error:
                raise BadInput(f"{path}: line {number + 2}, column {head[i]}: {error}; give a number or nothing") from error
    if not (np.diff(values[:, clock]) > 0).all():
        raise BadInput(f"{path}: time must rise from line to line")
    return MetricTable(values[:, clock], tuple(_column(head[i]) for i in kept), values[:, kept])


def _service_metric(name: str) -> tuple[str, str] | None:
    service, _, metric = name.rpartition("_")
    return (service, metric) if service and metric else None


def _column(name: str) -> Column:
    service, _, metric = name.rpartition("_")
    kind, _, quantile = metric.partition("-")
    return Column(service, kind, (("quantile", quantile),) if quantile else (), _UNITS.get(kind, ""))


def _blamed(folder: str, services: frozenset[str]) -> tuple[str, ...]:
    """The service that the folder is named after: the longest of the case's whose name it begins with."""
    named = [service for service in services if folder.startswith((f"{service}-", f"{service}_"))]
    return (max(named, key=len) if named else re.split(r"[-_](?=[^-_]+$)", folder)[0],)
