"""How the contract describes a table: its columns with type, unit, meaning and source names."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the contract.

    ``unit`` is the unit of the value ("ns", "tokens", "blocks", "" for text). ``source`` names the OTLP attribute,
    field or metric the value comes from; "derived" says that the store computes it.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    source: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the contract: what a row is, how rows are ordered, and its columns."""

    name: str
    row: str
    sorted_by: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, without the ``hour`` partition column that the store adds to partitioned tables."""
        return pa.schema([pa.field(c.name, c.type) for c in self.columns])

    def column(self, name: str) -> Column:
        """The column called ``name``; raises KeyError with the table's name when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name!r}")
