"""Reading a scenario file: TOML, overrides, and errors that name the file, the key, the value and the fix."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from collectors.errors import BadInput
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

Table = TypeVar("Table", bound=BaseModel)


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read ``path`` and apply ``dotted.key=value`` overrides (values in TOML syntax, bare words are text).

    Raises BadInput that names the file, the key, the value and the nearest valid key.
    """
    data = read_toml(path)
    for override in overrides:
        _override(data, override)
    scenario = validated(path, data, Scenario)
    if found := list(problems(scenario)):
        raise BadInput("\n".join(f"{path}: {problem}" for problem in found))
    return scenario


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of ``path``. Raises BadInput that names it."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from error


def validated(path: Path, data: Mapping[str, Any], model: type[Table]) -> Table:
    """``data``, which was read from ``path``, as a ``model``. Raises BadInput with a line for each problem."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadInput("\n".join(_explain(path, model, item) for item in error.errors())) from error


def _override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise BadInput(f"--set {override!r}: write it as dotted.key=value")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        put(data, key, value)
    except BadInput as error:
        raise BadInput(f"--set {error}") from error


def put(data: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted ``key`` of a scenario's tables (numbers count the entries of lists). Raises BadInput."""
    *parents, last = key.strip().split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise BadInput(f"{key} = {value!r}: {part!r} is no key or index here")
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise BadInput(f"{key} = {value!r}: {last!r} is no key or index here")


def _explain(path: Path, model: type[BaseModel], item: Mapping[str, Any]) -> str:
    """One line for one problem that pydantic found: file, key, value, and what would be valid."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(sorted(known))}"
        return f"{path}: unknown key {where!r} (value {item['input']!r}); {hint}"
    if item["type"] == "missing":
        return f"{path}: key {where!r} is missing; add it"
    return f"{path}: {where} = {item['input']!r} cannot be used: {item['msg']}"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys that the table at ``location`` of a ``model`` may hold."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation: Any = model.model_fields[part].annotation
        for candidate in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return list(model.model_fields)
