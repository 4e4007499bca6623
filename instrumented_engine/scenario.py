"""A scenario: topology, hardware, workload, clients, policies and timed actions, as read from TOML.

Every fault is an action that sets a switch on a mechanism at a time (``do = "set"``), or a routine operation of the
fleet (``do = "rebalance"``, ``do = "shed"``). Nothing here sets an outcome.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from collectors.errors import BadInput


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Names(_Strict):
    """What the entities are called; analysis must not care."""

    replica: str = "r"
    gateway: str = "main"
    router: str = "main"
    kv_index: str = "main"


class Workload(_Strict):
    """Which recorded arrivals are replayed, and how they are scaled (see ``cost_model``).

    ``ramp_s``: over so many first seconds traffic rises linearly from nothing, so that caches start cold but not crushed.
    """

    file: str = "mooncake_conversation"
    compress: float = Field(1.0, gt=0, le=100)
    offset_s: float = Field(0.0, ge=0)
    ramp_s: float = Field(0.0, ge=0)
    prompt_scale: float = Field(1 / 32, gt=0, le=1)
    output_scale: float = Field(1 / 4, gt=0, le=1)


class Cohort(_Strict):
    """A class of clients. A session belongs to one cohort, drawn by ``share``."""

    name: str
    share: float = Field(1.0, gt=0)
    tier: str = "free"
    ttft_timeout_s: float = Field(30.0, gt=0)
    max_retries: int = Field(2, ge=0, le=20)
    backoff_initial_s: float = Field(0.5, ge=0)
    backoff_max_s: float = Field(8.0, ge=0)


class Cluster(_Strict):
    """How many replicas, and on which hardware."""

    replicas: int = Field(4, ge=1, le=64)
    profile: str = "h20_16b_a2b"


class Replica(_Strict):
    """An engine's own limits and policies."""

    kv_blocks: int = Field(8192, ge=16)
    block_tokens: int = Field(16, ge=1, le=512)
    max_running: int = Field(64, ge=1)
    max_waiting: int = Field(120, ge=1)
    step_target_ms: float = Field(100.0, gt=0)
    cancel_on_disconnect: bool = False
    speed: float = Field(1.0, gt=0)


class KvIndex(_Strict):
    """The index of who holds which block, and the event stream that feeds it."""

    writer_ops_per_s: float = Field(275.0, gt=0)
    stream_buffer_events: int = Field(10_000, ge=1)
    lookup_ms: float = Field(1.0, ge=0)
    route_by: Literal["new_map", "old_map_until_synced"] = "new_map"


class Router(_Strict):
    """Cache-aware routing in SGLang's manner: longest prefix, unless the fleet is out of balance."""

    min_match_share: float = Field(0.1, ge=0, le=1)
    balance_abs: int = Field(16, ge=0)
    balance_rel: float = Field(1.5, ge=1)


class Gateway(_Strict):
    """The front door."""

    overhead_ms: float = Field(2.0, ge=0)
    stream_ms: float = Field(5.0, ge=0)
    shed_share: float = Field(0.0, ge=0, le=1)


class Action(_Strict):
    """Something that happens at ``at_s``. ``log`` is what the operator's change log holds of it (nothing: unlogged).

    ``do = "set"`` puts ``value`` into ``key`` of ``target`` (an entity such as ``replica:r1`` or ``kv_index:main``, or
    ``clients``) until ``until_s``, then the scenario's own value again.
    """

    at_s: float = Field(ge=0)
    do: Literal["set", "rebalance", "undo_rebalance", "note"]
    target: str
    key: str = ""
    value: float | bool | int | None = None
    until_s: float | None = None
    log_kind: Literal["deploy", "config_change", "scale", "failover", "rebalance", "load_shed", "note"] = "config_change"
    log: str = ""
    log_until: str = ""


class Scenario(_Strict):
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
    router: Router = Router()
    gateway: Gateway = Gateway()
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


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read ``path`` and apply ``dotted.key=value`` overrides (values in TOML syntax, bare words are text).

    Raises BadInput that names the file, the key, the value and the nearest valid key.
    """
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); give a scenario.toml") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from error
    for override in overrides:
        _override(data, override)
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise BadInput("\n".join(_explain(path, item) for item in error.errors())) from error


def _override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise BadInput(f"--set {override!r}: write it as dotted.key=value")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise BadInput(f"--set {override!r}: {part!r} is no key or index here")
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise BadInput(f"--set {override!r}: {last!r} is no key or index here")


def _explain(path: Path, item: Mapping[str, Any]) -> str:
    """One line for one problem that pydantic found: file, key, value, and what would be valid."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _fields_at(item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(sorted(known))}"
        return f"{path}: unknown key {where!r} (value {item['input']!r}); {hint}"
    if item["type"] == "missing":
        return f"{path}: key {where!r} is missing; add it"
    return f"{path}: {where} = {item['input']!r} cannot be used: {item['msg']}"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """The keys that the table at ``location`` may hold."""
    model: type[BaseModel] = Scenario
    for part in location:
        if isinstance(part, int):
            continue
        annotation: Any = model.model_fields[part].annotation
        for candidate in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return list(model.model_fields)
