"""The SQL files of the analysis as text ready to run: comments away, parameters filled in as literals.

Literals, not bind parameters: the very text that was run goes into the evidence, and anybody can run it again with
``flashover sql``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Protocol

import polars as pl
import pyarrow as pa

Parameters = Mapping[str, object] | Sequence[object]


class Tables(Protocol):
    """What the analysis needs of a store: ``collectors.store.Store`` is one."""

    warnings: list[str]

    def query(self, sql: str, params: Parameters | None = None) -> pa.Table:
        """The rows of one SELECT."""

    def frame(self, sql: str, params: Parameters | None = None) -> pl.DataFrame:
        """The same as a polars frame."""


def names() -> list[str]:
    """The SQL files by name, without suffix."""
    folder = resources.files("analysis") / "sql"
    return sorted(entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql"))


@cache
def source(name: str) -> str:
    """The text of ``analysis/sql/<name>.sql`` as it is."""
    return (resources.files("analysis") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def literal(value: int | float | str) -> str:
    """``value`` as an SQL literal, a float with an exponent: without one it would be a decimal. Raises ValueError for
    infinities and NaN."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no SQL literal")
        return repr(value) if "e" in repr(value) else f"{value!r}e0"
    return str(int(value))


def sql(name: str, **parameters: int | float | str) -> str:
    """The query of file ``name`` on one line; ``$parameter`` becomes its literal. KeyError for one that is not given."""
    text = " ".join(line.split("--", 1)[0].strip() for line in source(name).splitlines())
    text = re.sub(r"\$(\w+)", lambda match: literal(parameters[match[1]]), " ".join(text.split()))
    return text.rstrip("; ")
