"""What a scenario file may say, table by table; ``loading.load_scenario`` reads one."""

from __future__ import annotations

from instrumented_engine.scenario.demand import Cohort, Workload
from instrumented_engine.scenario.scenario import Action, Scenario
from instrumented_engine.scenario.serving import Cluster, Gateway, KvIndex, MetadataMaster, Names, Replica, Router, Tier

__all__ = [
    "Action", "Cluster", "Cohort", "Gateway", "KvIndex", "MetadataMaster", "Names", "Replica", "Router", "Scenario", "Tier",
    "Workload",
]
