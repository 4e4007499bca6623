"""What a status page would have said of a run: a component's states from what users got, and when outages begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from incidents.goodput import Window
from incidents.outages.record import State
from incidents.verify import DOWN, WELL

WINDOW_S = 180.0
LASTING_S = 360.0
"""A state that lasts shorter is not told."""


class Stretch(NamedTuple):
    """A state from ``at_s`` until ``until_s``."""

    at_s: float
    until_s: float
    state: State


class Event(NamedTuple):
    """An outage begins (``down``) or is over, the component operational (``up``)."""

    at_s: float
    kind: Literal["down", "up"]


def stretches(windows: Sequence[Window]) -> list[Stretch]:
    """States one after the other, each lasting at least ``LASTING_S``; what is shorter belongs to the one before it."""
    found: list[Stretch] = []
    width = windows[1].at_s - windows[0].at_s if len(windows) > 1 else WINDOW_S
    many = max(1, round(WINDOW_S / width))
    for i in range(0, len(windows) - many + 1, many):
        users, served = (sum(column) for column in zip(*((w.users, w.served) for w in windows[i : i + many]), strict=True))
        share = served / users if users else 1.0
        state: State = "outage" if share < DOWN else "degraded" if share < WELL else "operational"
        until_s = windows[i].at_s + many * width
        if found and found[-1].state == state:
            found[-1] = found[-1]._replace(until_s=until_s)
        else:
            found.append(Stretch(windows[i].at_s, until_s, state))
    return _settled(found)


def events(found: Sequence[Stretch]) -> list[Event]:
    """Beginnings and ends of outages. One that never becomes operational in between goes on, except for an outage that
    follows a degraded stretch: that is a relapse."""
    told, was = [], "operational"
    for one in found:
        if one.state == "outage" and was != "outage":
            told.append(Event(one.at_s, "down"))
        if one.state == "operational" and was != "operational":
            told.append(Event(one.at_s, "up"))
        was = one.state
    return told


def _settled(found: Sequence[Stretch]) -> list[Stretch]:
    kept: list[Stretch] = []
    for one in found:
        short = one.until_s - one.at_s < LASTING_S
        if kept and (short or kept[-1].state == one.state):
            kept[-1] = kept[-1]._replace(until_s=one.until_s)
        else:
            kept.append(one)
    return kept
