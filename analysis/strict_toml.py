"""TOML into frozen dataclasses: what is unknown, missing or of the wrong type is refused with file, key, value and the fix."""

from __future__ import annotations

import dataclasses
import tomllib
import types
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from collectors.errors import BadInput, nearest


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of one file. Raises BadInput for what is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from error


def shipped(kind: Any, name: str) -> Any:
    """The dataclass ``kind`` of ``analysis/<name>``. Raises BadInput."""
    path = Path(str(resources.files("analysis"))) / name
    return build(kind, read_toml(path), path)


def build(kind: Any, data: Any, path: Path, where: str = "") -> Any:
    """``data`` as the dataclass ``kind``; ``where``: its key in the file, with a dot at the end. Raises BadInput."""
    if not isinstance(data, dict):
        raise BadInput(f"{path}: {where.rstrip('.')} must be a table, not {data!r}")
    hints = get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for key in data:
        if key not in fields:
            raise BadInput(f"{path}: unknown key {where + key!r} (value {data[key]!r}); {nearest(key, fields)}")
    for name, item in fields.items():
        if name not in data and item.default is dataclasses.MISSING:
            raise BadInput(f"{path}: key {where + name!r} is missing; add it")
    return kind(**{key: _value(hints[key], value, path, where + key) for key, value in data.items()})


def _value(kind: Any, value: Any, path: Path, where: str) -> Any:
    origin, choices = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, path, where + ".")
    if origin is tuple and isinstance(value, list):
        kinds = [choices[0]] * len(value) if choices[-1] is Ellipsis else list(choices)
        if len(kinds) == len(value):
            return tuple(_value(k, v, path, f"{where}.{i}") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    elif (
        (origin is Literal and value in choices)
        or (kind is float and type(value) in (int, float))
        or (kind is bool and isinstance(value, bool))
        or (isinstance(kind, type) and not isinstance(value, bool) and isinstance(value, kind))
    ):
        return value
    elif origin in (Union, types.UnionType):
        raise TypeError(f"{where}: optional keys are not supported")
    wanted = f"one of {', '.join(map(repr, choices))}" if origin is Literal else getattr(kind, "__name__", str(kind))
    raise BadInput(f"{path}: {where} = {value!r} cannot be used; it must be {wanted}")
