"""Who emits: one OTLP resource per entity, with the attributes that the OTel SDK would give it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk import version
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
)
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from collectors.schema import ENTITY_KINDS, SCHEMA_VERSION
from instrumented_engine.telemetry import wire
from instrumented_engine.telemetry.metrics import Counter, Registry
from instrumented_engine.telemetry.steps import StepColumns

SCOPE = InstrumentationScope("instrumented_engine.telemetry", str(SCHEMA_VERSION))
SCOPE_BYTES = wire.text(b"\x0a", SCOPE.name) + wire.text(b"\x12", SCOPE.version or "")

DROPPED = "flashover:telemetry_dropped"


class Resource:
    """The handle the engine emits through.

    ``index`` numbers the resources of one run; ``sdk`` is the SDK's resource; ``encoded`` its OTLP message;
    ``metrics`` its registry (``resource.metrics.counter(...)``); ``steps`` the columns its steps are appended to, which
    several replicas may share.
    """

    __slots__ = ("_dropped", "encoded", "entity", "index", "metrics", "sdk", "steps")

    def __init__(self, index: int, entity: str, sdk: SdkResource, metrics: Registry, steps: StepColumns) -> None:
        self.index, self.entity, self.sdk, self.metrics, self.steps = index, entity, sdk, metrics, steps
        self.encoded = wire.attributes(b"\x0a", sdk.attributes)
        self._dropped: dict[str, Counter] = {}

    def emits(self, kind: str) -> Counter:
        """The counter of records of ``kind`` that this resource lost; exported (as 0) from its first record on."""
        counter = self._dropped.get(kind)
        if counter is None:
            counter = self._dropped[kind] = self.metrics.counter(
                DROPPED, "{record}", "Telemetry records refused because the buffer was full.", kind=kind
            )
        return counter


def sdk_resource(entity: str, service: str, attributes: Mapping[str, wire.Value] | None = None) -> SdkResource:
    """The SDK's resource for ``entity`` ("kind:name", see ``schema.ENTITY_KINDS``; ValueError for any other).

    Built without ``Resource.create``: its detectors would add the process, the host, the environment's attributes and
    a random instance id, and a run's bodies must be a function of its seed. None values in ``attributes`` are left out;
    an attribute that is derived here cannot be given (ValueError).
    """
    kind, _, name = entity.partition(":")
    if kind not in ENTITY_KINDS or not name:
        raise ValueError(f"entity {entity!r} is not kind:name with a kind of {', '.join(ENTITY_KINDS)}")
    own = {
        TELEMETRY_SDK_LANGUAGE: "python",
        TELEMETRY_SDK_NAME: "opentelemetry",
        TELEMETRY_SDK_VERSION: version.__version__,
        SERVICE_NAME: service,
        SERVICE_INSTANCE_ID: entity,
        "flashover.entity": entity,
    }
    given = {key: value for key, value in (attributes or {}).items() if value is not None}
    if clash := own.keys() & given.keys():
        raise ValueError(f"resource {entity}: {', '.join(sorted(clash))} cannot be given, it follows from the entity")
    return SdkResource({**own, **given})
