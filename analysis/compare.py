"""Two incidents side by side: what they share, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.terminal import span

Document = Mapping[str, Any]
"""``Investigation.to_json()``, or its file read again."""


def rows(one: Document, other: Document) -> list[tuple[str, str, str, str]]:
    """What is asked, what each says, and ``=`` where they agree, ``!`` where they do not."""
    asked = [(name, *(_answers(document)[name] for document in (one, other))) for name in _answers(one)]
    return [(name, here, there, "=" if here == there else "!") for name, here, there in asked]


def as_json(one: Document, other: Document) -> dict[str, Any]:
    """The same for machines."""
    return {"asked": {name: {"a": here, "b": there, "same": mark == "="} for name, here, there, mark in rows(one, other)}}


def _answers(document: Document) -> dict[str, str]:
    impact, triggers = document["impact"], document["triggers"]
    first = triggers[0] if triggers else None
    claimed = first is not None and not document["abstained"]
    grown = sorted(document.get("phase_seconds", ()), key=lambda p: p["baseline_seconds"] - p["seconds"])
    more = [phase["phase"] for phase in grown[:2] if phase["seconds"] > phase["baseline_seconds"]]
    return {
        "bad service": f"{impact['start']} for {_length(impact)}" if impact["start"] else "none",
        "bad requests": f"{impact['bad_request_share']:.0%}",
        "phases": " ".join(phase["state"] for phase in impact["phases"]) or "none",
        "change": "; ".join(change["event"] for change in document["initiators"]) or "none",
        "trigger": f"{first['entity']} {first['mechanism']}" if claimed and first else "not claimed",
        "mechanism": first["mechanism"] if claimed and first else "not claimed",
        "amplified by": _names(document["amplifiers"]),
        "kept down by": _names(document["sustainers"]),
        "load of the loop": _gain(document),
        "free before": _share(document.get("headroom")),
        "grew most": ", ".join(more) or "nothing",
        "way": " -> ".join(dict.fromkeys(edge["from"].partition(":")[0] for edge in document["cascade"])) or "none",
        "not seen": str(len(document["coverage"]["missing"])) + " signals",
    }  # fmt: skip


def _length(impact: Mapping[str, Any]) -> str:
    from collectors.clock import parse_iso

    return span(parse_iso(impact["end"]) - parse_iso(impact["start"]))


def _names(loops: Any) -> str:
    return ", ".join(sorted({loop["mechanism"] for loop in loops})) or "none"


def _gain(document: Document) -> str:
    for loop in (*document["sustainers"], *document["amplifiers"]):
        if loop["mechanism"] == "retry_storm" and loop["gain"][1] is not None:
            return f"{loop['gain'][0]:.1f} to {loop['gain'][1]:.1f} times capacity"
    return "not measured"


def _share(interval: Any) -> str:
    return "not measured" if interval is None else f"{interval[0]:.0%} to {interval[1]:.0%} of capacity"
