"""What the telemetry could show and what it could not: a mechanism whose signals are missing is neither shown nor ruled
out, and the reader has to know."""

from __future__ import annotations

from analysis import queries
from analysis.board import Board
from analysis.investigation import Coverage
from analysis.queries import Tables
from analysis.signal_catalogue import SIGNALS


def row_counts(tables: Tables) -> dict[str, int]:
    """Rows per table."""
    return {row["name"]: row["rows"] for row in tables.query(queries.sql("table_rows")).to_pylist()}


def describe(tables: Tables, rows: dict[str, int], board: Board | None, more: list[str]) -> Coverage:
    """Coverage of a store; ``board`` is None when signals were not loaded because nothing happened."""
    held = signals_held(board) if board is not None else ()
    missing = tuple(name for name in SIGNALS if name not in held) if board is not None else ()
    warnings = list(tables.warnings)
    warnings += [f"table {name} is empty: {what}" for name, what in _EMPTY.items() if rows.get(name, 0) == 0]
    return Coverage(held, missing, (*warnings, *more))


def signals_held(board: Board) -> tuple[str, ...]:
    """Signals with anything measured."""
    return tuple(name for name, of in board.items() if any(series.den.sum() > 0 for series in of.values()))


_EMPTY = {
    "requests": "what users felt cannot be judged",
    "steps": "slow replicas, evictions and preemptions cannot be seen",
    "samples": "the KV index cannot be seen",
    "edges": "who depends on whom is not known",
    "events": "no change can be named as the initiator",
}
