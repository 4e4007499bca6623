"""The files of a table at one version, read from Delta's log once, with what the log says of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from collectors.tables.data_files import DataFile, hour_of
from collectors.tables.hours import HOUR, TIME_COLUMNS

FOLDER = "tables"
LOG = "_delta_log"
HINT = "_last_checkpoint"
"""The file of a log that says which checkpoint is the last; without it, they are listed."""

Hours = Sequence[tuple[str, str, str | list[str]]]
"""A filter of hours, for example ``[("hour", ">=", "2026-03-29T13")]``; operators are ``>=``, ``<=``, ``=`` and ``in``."""


def table_path(store: Path, name: str) -> Path:
    """Where a table lies."""
    return store / FOLDER / name


def log_entry(table: Path, version: int) -> Path:
    """Where the log entry of a version lies."""
    return table / LOG / f"{version:020d}.json"


def read_live_files(store: Path, name: str, version: int | None) -> list[DataFile]:
    """The live files of a table at a version, in order of their paths (None: there is no table). Raises what delta-rs does
    when the log cannot be read."""
    return [] if version is None else live_files_of(DeltaTable(table_path(store, name), version=version), name)


def live_files_of(table: DeltaTable, name: str) -> list[DataFile]:
    """The live files of an open table, in order of their paths."""
    actions = table.get_add_actions(flatten=True)
    columns: dict[str, list[Any]] = {field: list(actions.column(field).to_pylist()) for field in actions.schema.names}
    nothing: list[Any] = [None] * actions.num_rows
    time = TIME_COLUMNS.get(name)
    bounds = [columns.get(f"{bound}.{time}", nothing) for bound in ("min", "max")]
    rows = columns.get("num_records", nothing)
    return sorted((DataFile(path, size, count or 0, hour_of(path), first, last) for path, size, count, first, last in zip(
        columns["path"], columns["size_bytes"], rows, *bounds, strict=True)), key=lambda file: file.path)


def live_files(store: Path, name: str, version: int | None, hours: Hours | None = None) -> list[str]:
    """Where the live files of a table lie, all or those of the hours that fit the filter."""
    return [str(table_path(store, name) / file.path) for file in read_live_files(store, name, version)
            if fits(file.hour, hours)]


def fits(hour: str, hours: Hours | None) -> bool:
    """Whether an hour fits every condition of a filter."""
    return all(_fits(hour, operator, value) for column, operator, value in hours or () if column == HOUR)


def _fits(hour: str, operator: str, value: str | Collection[str]) -> bool:
    if operator == "in":
        return hour in value
    assert isinstance(value, str)
    return {">=": hour >= value, "<=": hour <= value, "=": hour == value}[operator]
