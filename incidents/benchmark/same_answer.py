"""Whether two answers say the same, but for what entities are called and when it was.

Everything that an answer says is compared: times exactly, numbers to ``NEAR``, texts with names and times put into the other's
words. Only the SQL of the evidence is left out, whose values are compared. What an answer tells in no order, or sorted by name,
is compared as a set. What is ruled out is ruled out on the entity nearest to it; where several are equally near, with the same
numbers, it may be any, so that there only the kind of an entity counts.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.investigation import Investigation

NEAR = 1e-9
"""Distance of numbers that are the same: relative above 1, absolute below."""
ORDERED = {"triggers", "episodes", "phases", "goodput", "gain", "share", "seconds", "headroom", "lag_range_s", "ece"}
"""Lists that mean something by their order."""
_TIMES = {"start", "end", "low", "high", "at"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def differences(before: Investigation, after: Investigation, names: Mapping[str, str], later_ns: int) -> list[str]:
    """What ``after`` says otherwise than ``before``, a line each: where, and both values. ``names``: what the entities of
    ``before`` are called in ``after``, ``later_ns``: by how much ``after`` is later."""
    one = _Telling(names, {old: _any_of_kind(old) for old in names}, later_ns)
    other = _Telling({}, {new: _any_of_kind(new) for new in names.values()}, 0)
    return list(_apart(one.plain(before, ""), other.plain(after, ""), "answer"))


def _any_of_kind(entity: str) -> str:
    return f"{entity.partition(':')[0]}:<any>"


class _Telling:
    """An answer as dicts and lists, with ``names`` put in, in what is ruled out ``kinds``, and times moved."""

    def __init__(self, names: Mapping[str, str], kinds: Mapping[str, str], later_ns: int) -> None:
        self._names, self._kinds, self._later_ns = names, kinds, later_ns

    def plain(self, value: Any, name: str, ruled_out: bool = False) -> Any:
        ruled_out = ruled_out or name == "rejected"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = (one.name for one in dataclasses.fields(value) if one.name != "sql")
            return {field: self.plain(getattr(value, field), field, ruled_out) for field in fields}
        if isinstance(value, tuple):
            items = [self.plain(item, name, ruled_out) for item in value]
            return items if name in ORDERED else sorted(items, key=_key)
        if isinstance(value, str):
            return _put(_TIME.sub("<time>", value), self._kinds if ruled_out else self._names)
        timed = isinstance(value, int) and not isinstance(value, bool) and name in _TIMES
        return value + self._later_ns if timed else value


def _put(text: str, names: Mapping[str, str]) -> str:
    if not names:
        return text
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w.-])(?:{known})(?![\w-])", lambda found: names[found[0]], text)


def _key(item: Any) -> str:
    """By what texts say first, by numbers only then, so that their last digits move nothing."""
    return json.dumps([_leaves(item, str), [f"{number:.5g}" for number in _leaves(item, float)]])


def _leaves(item: Any, kind: type) -> list[Any]:
    parts = item.values() if isinstance(item, Mapping) else item if isinstance(item, list) else None
    if parts is None:
        return [item] if isinstance(item, kind) else []
    return [leaf for part in parts for leaf in _leaves(part, kind)]


def _apart(one: Any, other: Any, where: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one:
            yield from _apart(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _apart(*pair, f"{where}[{number}]")
    elif not _same(one, other):
        yield f"{where}: {one!r} became {other!r}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
