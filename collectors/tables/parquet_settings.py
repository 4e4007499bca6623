"""How the columns of a data file are encoded: chosen from the rows themselves, by name and by what the first ones look like.

Measured on the engine's spans and on spans of a root and four children with random ids (bytes as a share of the same bodies
under zstd-1, ``tests/bench/bench_store.py``); zstd level 1 throughout, as levels 3 to 9 gained under 2 % and cost up to 2x:

* times and durations as DELTA_BINARY_PACKED: 0.92 -> 0.55 (engine). Dictionaries of them hold every value once, for nothing;
* ids that hardly repeat or that rise in small steps: DELTA_BINARY_PACKED for the latter, PLAIN for random ones, where zstd
  finds a trace's repeats. A dictionary of random ids costs 0.11 of the raw bytes more;
* floats as BYTE_STREAM_SPLIT without dictionary, unless few values repeat (0.92 B/sample in storage-measurements, section 2);
* texts that hardly repeat (request ids) as DELTA_LENGTH_BYTE_ARRAY, all others by dictionary;
* data pages of version 1: version 2 leaves the levels of maps and lists uncompressed (+0.3 of the raw bytes of engine spans);
* no statistics of floats: those that pyarrow writes leave NaN out, and DuckDB (2.0) takes them for all values, so that
  ``isnan`` of a column with NaN is false;
* no ARROW:schema entry, which is several kB in each of the small files of a round.

What is left of the raw bytes after all upkeep: spans 0.51 (engine's bodies) and 0.75 (random ids; 0.72 where attributes are
nearly constant), of a replay of kv-sync-rebalance 0.80; request rows 0.45, 0.36 (0.44) and 0.50. Random ids do not compress:
span, parent and trace id and a request's UUID take 16 of the 27 bytes of a span whose OTLP takes 38, where a body has a
trace's spans side by side. A request row is small beside five spans, less so beside the engine's one or two an attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROW_GROUP_ROWS = 122_880
"""Rows of a row group: what DuckDB prunes by its zone map, and reads on one thread."""

_LOOKED_AT = 4_096
_SMALL_STEP = 1 << 31
_REPEATS = 8
"""A dictionary is worth its pages when a value is there at least so many times."""


def writer_settings(rows: pa.Table) -> dict[str, Any]:
    """Keyword arguments for ``pyarrow.parquet.ParquetWriter`` for a file that begins with ``rows``."""
    encodings: dict[str, str] = {}
    by_dictionary: list[str] = []
    told: list[str] = []
    for field, column in zip(rows.schema, rows.slice(0, _LOOKED_AT).columns, strict=True):
        for path, values in _leaves(field.name, column.combine_chunks()):
            encoding = _encoding(path, values)
            if not pa.types.is_floating(values.type):
                told.append(path)
            if encoding is None:
                by_dictionary.append(path)
            else:
                encodings[path] = encoding
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": by_dictionary or False,
            "column_encoding": encodings or None, "write_statistics": told, "store_schema": False, "data_page_version": "1.0"}


def _encoding(path: str, values: pa.Array) -> str | None:
    """The encoding of one Parquet column; None: by dictionary."""
    if pa.types.is_int64(values.type) and (path.endswith("_ns") or path == "frame"):
        return "DELTA_BINARY_PACKED"
    if _repeats(values):
        return None
    if pa.types.is_int64(values.type):
        return "DELTA_BINARY_PACKED" if _steps_are_small(values) else "PLAIN"
    if pa.types.is_float64(values.type):
        return "BYTE_STREAM_SPLIT"
    return "DELTA_LENGTH_BYTE_ARRAY" if pa.types.is_string(values.type) else None


def _repeats(values: pa.Array) -> bool:
    found = len(values) - values.null_count
    if found == 0:
        return True
    distinct: int = pc.count_distinct(values).as_py()
    return bool(distinct * _REPEATS <= found)


def _steps_are_small(values: pa.Array) -> bool:
    known = values.drop_null().to_numpy()
    if len(known) < 2:
        return False
    steps = np.abs(np.diff(known.astype(np.float64)))
    return bool(np.quantile(steps, 0.9) < _SMALL_STEP)


def _leaves(path: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The Parquet columns below a column, as pyarrow names them, with their values. Those of a map are not looked at."""
    kind = column.type
    if pa.types.is_map(kind):
        yield from ((f"{path}.key_value.{part}", pa.nulls(0, of)) for part, of in
                    (("key", kind.key_type), ("value", kind.item_type)))
    elif pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", column.flatten())
    elif pa.types.is_struct(kind):
        for field, part in zip(kind, column.flatten(), strict=True):
            yield from _leaves(f"{path}.{field.name}", part)
    else:
        yield path, column
