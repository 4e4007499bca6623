"""One public outage as an analysis gets it: a store without labels; the label stays behind until a ranking is final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from incidents.benchmark.public.metric_table import MetricTable


@dataclass(frozen=True, slots=True)
class RankedCase:
    """``alarm_s``: when somebody noticed, unix seconds; ``target``: the service at which; ``metric``: the metric by which,
    ``name/label`` (empty: any): only baselines are told these. ``calls``: (service, service it calls). ``label``: reads the
    services to blame, and is called after the last ranking."""

    name: str
    table: MetricTable
    alarm_s: float
    target: str
    metric: str
    calls: frozenset[tuple[str, str]]
    label: Callable[[], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class QuietCase:
    """A window in which nothing was wrong, after normal time as long as an outage's."""

    name: str
    table: MetricTable
    calls: frozenset[tuple[str, str]]
