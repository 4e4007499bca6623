"""Who emitted: the entity, the service and the rest of an OTLP resource, read once for each distinct resource."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.decode.attributes import text_map
from collectors.decode.limits import Drops, Limits
from collectors.schema import EDGE_KINDS

ENTITY_KEY = "flashover.entity"
MOST_EMITTERS = 65_536
"""Distinct resources remembered."""

_EDGE_PREFIX = "flashover.edge."


@dataclass(frozen=True, slots=True)
class Emitter:
    """``entity`` is the attribute flashover.entity; a source without one is ``service:<service.name>``, NULL without
    that too. ``edges``: (kind, destination entity) of the attributes ``flashover.edge.<kind> = "dst[,dst...]"``.
    ``rest``: the attributes that have no column of their own, the edges' among them. ``drops``: what the limits took."""

    entity: str | None
    service: str | None
    edges: tuple[tuple[str, str], ...]
    rest: dict[str, str | None]
    drops: Drops


class Emitters:
    """Reads resources, remembering those it has seen by their bytes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: dict[bytes, Emitter] = {}
        self._as_sent: dict[bytes, Emitter] = {}

    def read(self, resource: Resource, drops: Drops) -> Emitter:
        """The emitter of one resource; what the limits take is counted each time that it comes."""
        emitter = self._read(resource)
        if emitter.drops:
            drops.update(emitter.drops)
        return emitter

    def read_bytes(self, resource: bytes) -> Emitter:
        """The emitter of a resource that parses; the caller counts what the limits took, which the emitter tells."""
        emitter = self._as_sent.get(resource)
        if emitter is None:
            if len(self._as_sent) >= MOST_EMITTERS:
                self._as_sent.clear()
            emitter = self._as_sent[resource] = self._read(Resource.FromString(resource))
        return emitter

    def _read(self, resource: Resource) -> Emitter:
        key = resource.SerializeToString(deterministic=True)
        emitter = self._seen.get(key)
        if emitter is None:
            if len(self._seen) >= MOST_EMITTERS:
                self._seen.clear()
            emitter = self._seen[key] = _emitter(resource, self._limits)
        return emitter


def _emitter(resource: Resource, limits: Limits) -> Emitter:
    drops: Drops = Counter()
    rest = text_map(resource.attributes, limits, drops)
    service = rest.pop("service.name", None)
    entity = rest.pop(ENTITY_KEY, None) or (f"service:{service}" if service else None)
    edges = [(key[len(_EDGE_PREFIX):], dst.strip())
             for key, value in rest.items() if key.startswith(_EDGE_PREFIX)
             for dst in (value or "").split(",")]
    return Emitter(entity, service, tuple((kind, dst) for kind, dst in edges if kind in EDGE_KINDS and dst), rest, drops)
