"""SQL from outside: one single SELECT over the store's tables, and nothing else.

The store's connection sees only the store's own files, but that alone still lets a statement *write* among them: COPY,
EXPLAIN ANALYZE COPY, ATTACH, and, since DuckDB 2.0, a COPY or INSERT inside a CTE, which DuckDB itself classes as a SELECT.
So the statement is judged by the tree that DuckDB's own parser makes of it: every node must be one that reads, every
table function one of ``TABLE_FUNCTIONS``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from collectors.errors import BadInput
from collectors.live_views import open_duckdb
from collectors.schema import TABLES
from collectors.store import Store

QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Parts of a statement that only read. DuckDB names every other one ``..._NODE`` too."""

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row"})
"""Table functions that touch no file, no setting and no other SQL (unlike read_csv, query, enable_logging, ...)."""

_ONLY = "only one single SELECT over the store's tables is accepted"


def read_only(store: Store, sql: str) -> pa.Table:
    """The rows of ``sql`` as Arrow. BadInput says why a statement is not accepted, or what DuckDB has against it."""
    check(sql)
    return store.query(sql)


def check(sql: str) -> None:
    """BadInput unless ``sql`` is one single SELECT (FROM, VALUES, WITH ... SELECT, DESCRIBE, SHOW TABLES) that only reads."""
    for node in _nodes(_tree(sql)):
        kind = node.get("type")
        if not isinstance(kind, str):
            continue
        if kind.endswith("_NODE") and kind not in QUERY_NODES:
            raise BadInput(f"{_ONLY}, not {kind.removesuffix('_NODE').removesuffix('_QUERY')} inside one")
        if kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name"))
            if name.lower() not in TABLE_FUNCTIONS:
                raise BadInput(f"table function {name} is not accepted; {_ONLY}, and the table functions "
                               f"{', '.join(sorted(TABLE_FUNCTIONS))}")
        if kind == "BASE_TABLE" and (set(str(node.get("table_name"))) & set("./\\:*?[")):
            raise BadInput(f"{node.get('table_name')!r} is no table; the store has {', '.join(TABLES)}")


_parser = cache(open_duckdb)
"""A DuckDB that has no data, kept: opening one costs more than most queries."""


def _tree(sql: str) -> Any:
    with _parser().cursor() as connection:
        try:
            statements = connection.extract_statements(sql)
        except duckdb.Error as error:
            raise BadInput(f"query refused: {' '.join(str(error).split())}") from error
        if len(statements) != 1:
            raise BadInput(f"{_ONLY}, not {len(statements)} statements")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise BadInput(f"{_ONLY}, not {statements[0].type.name.removesuffix('_STATEMENT')}")
        row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree.get("error") is not False or len(tree["statements"]) != 1:
        raise BadInput(f"{_ONLY}; this one cannot be read back ({tree.get('error_message', 'no reason given')})")
    return tree["statements"][0]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
