"""A scenario: topology, hardware, workload, clients, policies and timed actions, as read from TOML.

Every fault is an action that sets a switch on a mechanism for a time (``do = "set"``), or an operation that the mechanism
offers (``do = "rebalance"``). Nothing here sets an outcome.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from instrumented_engine.scenario.chat_tier import ChatTier
from instrumented_engine.scenario.control_plane import ControlPlane
from instrumented_engine.scenario.demand import Cohort, Workload
from instrumented_engine.scenario.disaggregation import Disaggregation
from instrumented_engine.scenario.hardware import Hardware
from instrumented_engine.scenario.moe import Experts
from instrumented_engine.scenario.regions import Link, Region, TrafficManager
from instrumented_engine.scenario.serving import Cluster, Gateway, KvIndex, MetadataMaster, Names, Replica, Router
from instrumented_engine.scenario.speculative import Speculative
from instrumented_engine.scenario.strict import Strict


class Action(Strict):
    """Something that happens at ``at_s``. ``log`` is what the operator's change log holds of it (nothing: unlogged).

    ``do = "set"`` puts ``value`` into ``key`` of ``target`` (an entity such as ``replica:r1`` or ``kv_index:main``, or
    ``clients``) until ``until_s``, then the value before it again; ``until_s = "end"`` leaves it to the end of the run.
    ``do = "note"`` is an entry in the log and nothing else. Any other ``do`` is an operation of the target.
    """

    at_s: float = Field(ge=0, allow_inf_nan=False)
    do: str
    target: str
    key: str = ""
    value: float | bool | int | str | None = None
    until_s: float | Literal["end"] | None = None
    log_kind: Literal["deploy", "config_change", "scale", "failover", "rebalance", "load_shed", "note"] = "config_change"
    log: str = ""
    log_until: str = ""


class Scenario(Strict):
    """One run of the cluster, complete. The fleet serves for ``warm_up_s`` before ``start``, when telemetry begins; action
    times count from ``start``."""

    title: str
    start: str = "2026-03-29T13:05:00Z"
    duration_s: float = Field(gt=0, le=86_400)
    warm_up_s: float = Field(0.0, ge=0, le=86_400)
    seed: int = Field(1, ge=0)
    model: Literal["S"] = "S"
    scrape_s: float = Field(5.0, gt=0)
    workload: Workload = Workload()
    cohorts: tuple[Cohort, ...] = (Cohort(name="chat"),)
    names: Names = Names()
    cluster: Cluster = Cluster()
    replica: Replica = Replica()
    kv_index: KvIndex = KvIndex()
    metadata_master: MetadataMaster | None = None
    router: Router = Router()
    gateway: Gateway = Gateway()
    experts: Experts | None = None
    speculative: Speculative | None = None
    disaggregation: Disaggregation | None = None
    hardware: Hardware | None = None
    control_plane: ControlPlane | None = None
    regions: tuple[Region, ...] = ()
    traffic_manager: TrafficManager | None = None
    links: tuple[Link, ...] = ()
    chat_tier: ChatTier | None = None
    actions: tuple[Action, ...] = ()

    @field_validator("start", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """TOML has times of its own, without quotes."""
        return value.isoformat() if isinstance(value, datetime) else value

    @field_validator("start")
    @classmethod
    def _a_time(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @property
    def start_ns(self) -> int:
        """The first instant of telemetry, UTC nanoseconds."""
        moment = datetime.fromisoformat(self.start)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1_000_000_000

    @property
    def beijing_hour(self) -> float:
        """The hour of Beijing's day at which the run, warm-up included, begins."""
        moment = datetime.fromtimestamp(self.start_ns / 1e9 - self.warm_up_s, UTC)
        return (moment.hour + moment.minute / 60 + 8) % 24
