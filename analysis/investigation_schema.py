"""The JSON schema of an investigation, made from its dataclasses. ``docs/investigation.schema.json`` holds it."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from analysis.investigation import VERSION, Bound, Instant, Investigation

_PLAIN: dict[Any, dict[str, Any]] = {
    Instant: {"type": "string", "format": "date-time"},
    Bound: {"type": ["number", "null"]},
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def investigation_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``Investigation.to_json()``."""
    definitions: dict[str, Any] = {}
    root = _of(Investigation, definitions)
    definitions["Investigation"]["properties"]["version"] = {"const": VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Flashover investigation",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The schema as the file in ``docs/`` holds it."""
    return json.dumps(investigation_schema(), indent=2) + "\n"


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin = get_origin(kind)
    if origin is Literal:
        return {"enum": list(get_args(kind))}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(choice, definitions) for choice in get_args(kind)]}
    if origin is tuple:
        return _array(get_args(kind), definitions)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _object(kind, definitions)
    raise TypeError(f"no JSON schema for {kind!r}")


def _array(items: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if items[-1] is Ellipsis:
        return {"type": "array", "items": _of(items[0], definitions)}
    return {"type": "array", "prefixItems": [_of(item, definitions) for item in items],
            "minItems": len(items), "maxItems": len(items)}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        hints = get_type_hints(kind)
        names = [item.name for item in dataclasses.fields(kind)]
        definitions[kind.__name__] = {
            "description": " ".join((kind.__doc__ or "").split()),
            "type": "object",
            "properties": {name.rstrip("_"): _of(hints[name], definitions) for name in names},
            "required": [name.rstrip("_") for name in names],
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}
