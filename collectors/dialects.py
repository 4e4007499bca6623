"""Vendor metric names -> canonical signals, from the TOML files in ``dialects/``.

One file is one vendor; one table in it is one canonical signal::

    ["requests.running"]
    metric = "vllm:num_requests_running"   # name on the wire, or a list of names
    type = "gauge"                         # gauge | counter | histogram
    unit = "requests"
    note = "what it counts, and its traps"

Prometheus puts ``_total`` behind a counter's name and OTLP does not: both spellings find the signal.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from collectors.errors import BadInput

FOLDER = Path(__file__).with_name("dialects")
TYPES = ("gauge", "counter", "histogram")
_KEYS = ("metric", "type", "unit", "note")


@dataclass(frozen=True, slots=True)
class Signal:
    """One canonical signal as one vendor sends it."""

    signal: str
    metric: str
    type: str
    unit: str
    note: str
    dialect: str


class Dialects:
    """All signals of a folder of dialect files. BadInput names the file, the key, the value and what is valid."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.signals: dict[str, Signal] = {}
        for path in sorted(folder.glob("*.toml")):
            for signal in read_dialect(path):
                other = self.signals.setdefault(signal.metric, signal)
                if other is not signal:
                    raise BadInput(f"{path}: metric {signal.metric!r} is {signal.signal!r} here and {other.signal!r} "
                                   f"in {other.dialect}.toml; keep one")

    def signal(self, metric: str) -> str | None:
        """The canonical signal of a metric by its name on the wire; None when no dialect knows it."""
        found = self.signals.get(metric) or self.signals.get(metric.removesuffix("_total"))
        return found.signal if found else None


def read_dialect(path: Path) -> list[Signal]:
    """The signals of one dialect file."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as TOML: {error}") from error
    return [found for signal, entry in content.items() for found in _signals(path, signal, entry)]


def _signals(path: Path, signal: str, entry: object) -> list[Signal]:
    if not isinstance(entry, dict):
        raise BadInput(f"{path}: {signal!r} must be a table with the keys {', '.join(_KEYS)}")
    for key in entry:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0)[0]
            raise BadInput(f"{path}: [{signal!r}] has the unknown key {key!r}; nearest valid: {near!r}")
    metrics: object = entry.get("metric")
    names = metrics if isinstance(metrics, list) else [metrics]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BadInput(f"{path}: [{signal!r}] metric = {metrics!r}; valid: a name, or a list of names")
    if entry.get("type") not in TYPES:
        raise BadInput(f"{path}: [{signal!r}] type = {entry.get('type')!r}; valid: {', '.join(TYPES)}")
    unit, note = entry.get("unit", ""), entry.get("note", "")
    return [Signal(signal, name, entry["type"], str(unit), str(note), path.stem) for name in map(str, names)]
