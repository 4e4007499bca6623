"""Changes of a store's tables that must not change the answer, each with what must stay.

Metamorphic testing (Chen, Cheung, Yiu, 1998): an investigation has no oracle on a fleet that nobody knows, but relations hold
on all. What entities are called, when it was, in which order rows lie and in which unit gauges count says nothing of a cause;
entries of a change log do not decide; and what a bystander measures is no reason. How many replicas share the work is asked by
playing a family again on another fleet (``tests/bench/bench_metamorphic.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis import queries
from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.queries import Tables
from analysis.signal_catalogue import SIGNALS
from collectors.live_views import sql_type
from collectors.schema import TABLES
from incidents.benchmark.altered import Alteration, CopiedTables
from incidents.benchmark.same_answer import differences
from incidents.benchmark.scores import SURE

LATER_NS = 7_654_321_987_654_321
"""88 days and some: a whole number of neither seconds nor bins, and odd."""
TIMES: Mapping[str, tuple[str, ...]] = {
    "spans": ("start_ns", "end_ns"), "steps": ("start_ns",), "samples": ("ts_ns", "start_ns"), "events": ("ts_ns",),
    "logs": ("ts_ns",), "edges": ("first_seen_ns", "last_seen_ns"),
}  # fmt: skip
"""Columns that are points in time; those in span events and exemplars move with them."""
ENTITIES: Mapping[str, tuple[str, ...]] = {
    "spans": ("entity", "replica"), "steps": ("replica",), "series": ("entity",), "events": ("entity",), "logs": ("entity",),
    "edges": ("src", "dst"),
}  # fmt: skip
"""Columns that hold an entity; ``spans.cohort`` holds the name of one alone."""
MAPS: Mapping[str, tuple[str, ...]] = {
    "spans": ("attributes", "resource"), "series": ("labels",), "events": ("attributes",), "logs": ("attributes",),
}  # fmt: skip
"""Columns of attributes, whose values may be entities, lists of entities, or names of the kind that their key says."""
TOKENS: Mapping[str, tuple[str, ...]] = {
    "spans": ("prompt_tokens", "cached_tokens", "computed_tokens", "recomputed_tokens", "output_tokens"),
    "steps": ("prefill_tokens", "decode_tokens", "recomputed_tokens"),
}  # fmt: skip
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "spans": ("predicted_blocks", "hit_blocks", "prompt_blocks", "kv_block_ns"),
    "steps": ("kv_used_blocks", "kv_total_blocks", "kv_evicted_blocks"),
}  # fmt: skip
BYSTANDERS = ("replica", "kv_index", "router", "metadata_master", "pool", "gpu", "host", "link", "control_plane", "service")
"""Kinds of entity that get a bystander; those that users ask get none, for what they ask is the impact."""


@dataclass(frozen=True, slots=True)
class Transformation:
    """``alter`` says how tables change, given them and the answer on them; ``broken`` what of ``invariant`` does not hold
    between the answers before and after, a line each."""

    name: str
    invariant: str
    alter: Callable[[Tables, Investigation], Alteration]
    broken: Callable[[Investigation, Investigation, Alteration], list[str]]

    def try_on(self, tables: CopiedTables, before: Investigation) -> list[str]:
        """What is broken on ``tables``, on which the answer was ``before``; they stay as altered."""
        tables.tell(Alteration({}))
        alteration = self.alter(tables, before)
        tables.tell(alteration)
        return self.broken(before, investigate(tables), alteration)


def _identical(before: Investigation, after: Investigation, alteration: Alteration) -> list[str]:
    return differences(before, after, alteration.names, alteration.later_ns)


def first(answer: Investigation) -> tuple[str, str] | None:
    """Entity and mechanism of the first trigger."""
    return (answer.triggers[0].entity, answer.triggers[0].mechanism) if answer.triggers else None


def _same_entity(before: Investigation, after: Investigation, _: Alteration) -> list[str]:
    one, other = first(before), first(after)
    return [] if (one and one[0]) == (other and other[0]) else [f"first {one} became {other}"]


def _same_trigger(before: Investigation, after: Investigation, _: Alteration) -> list[str]:
    return [] if first(before) == first(after) else [f"first {first(before)} became {first(after)}"]


def _same_or_silent(before: Investigation, after: Investigation, alteration: Alteration) -> list[str]:
    """Another suspect of the same stretch only with an abstention, and never a sure one. Of the same stretch: without the log
    nobody can know that users were turned away on purpose, and the time of that, which may be worse, is explained as well."""
    if not before.triggers:
        return _same_entity(before, after, alteration)
    own = before.episodes[before.triggers[0].episode]
    same = {i for i, one in enumerate(after.episodes) if one.start < own.end and own.start < one.end}
    said = [one for one in after.triggers if one.episode in same]
    if not said or said[0].entity == before.triggers[0].entity:
        return []
    claimed = not after.abstained or said[0].episode != after.triggers[0].episode
    sure = sum(one.probability for one in said if one.entity == said[0].entity) >= SURE
    named = (said[0].entity, said[0].mechanism)
    return [f"first {first(before)} became {named}"] if claimed or sure else []


def _renamed(call: Callable[[str, int, int], str]) -> Callable[[Tables, Investigation], Alteration]:
    """Every entity under another name of its kind; ``call`` gives the name of the n-th of so many, by their old names. Series
    get other ids too, for those are hashes of names."""

    def alter(tables: Tables, _: Investigation) -> Alteration:
        names: dict[str, str] = {}
        kinds: dict[str, list[str]] = {}
        for row in tables.query(queries.sql("entities")).to_pylist():
            kinds.setdefault(row["entity"].partition(":")[0], []).append(row["entity"])
        for kind, members in kinds.items():
            for number, entity in enumerate(sorted(members)):
                names[entity] = f"{kind}:{call(entity, number, len(members))}"
        return Alteration(_renaming(names), names)

    return alter


def _renaming(names: Mapping[str, str]) -> dict[str, str]:
    whole = _map(names)
    bare = _map({old: new.partition(":")[2] for old, new in names.items()})
    part = f"COALESCE({whole}[v], {bare}[regexp_extract(e.key, '[^.]*$') || ':' || v], v)"
    value = f"array_to_string(list_transform(string_split(e.value, ','), lambda v: {part}), ',')"
    changed = {table: {column: f"COALESCE({whole}[{column}], {column})" for column in of} for table, of in ENTITIES.items()}
    for table, columns in MAPS.items():
        for column in columns:
            entries = f"list_transform(map_entries({column}), lambda e: struct_pack(key := e.key, value := {value}))"
            changed[table][column] = f"CASE WHEN {column} IS NOT NULL THEN map_from_entries({entries}) END"
    changed["spans"]["cohort"] = f"COALESCE({bare}['cohort:' || cohort], cohort)"
    changed["series"]["series_id"] = "~series_id"
    changed["samples"] = {"series_id": "~series_id"}
    return {table: _replaced(table, of) for table, of in changed.items()}


def _map(names: Mapping[str, str]) -> str:
    return "MAP {" + ", ".join(f"{queries.literal(old)}: {queries.literal(new)}" for old, new in names.items()) + "}"


def _replaced(table: str, changed: Mapping[str, str]) -> str:
    columns = ", ".join(f"{expression} AS {column}" for column, expression in changed.items())
    return f"SELECT * REPLACE ({columns}) FROM told.{table}"


def _shifted(tables: Tables, _: Investigation) -> Alteration:
    changed = {table: {column: f"{column} + {LATER_NS}" for column in columns} for table, columns in TIMES.items()}
    for table, column in (("spans", "events"), ("samples", "exemplars")):
        moved = f"struct_insert(struct_pack(ts_ns := e.ts_ns + {LATER_NS}), {_fields(table, column)})"
        changed[table][column] = f"list_transform({column}, lambda e: {moved})"
    return Alteration({table: _replaced(table, of) for table, of in changed.items()}, later_ns=LATER_NS)


def _fields(table: str, column: str) -> str:
    kind = _type(table, column).value_type
    return ", ".join(f"{one.name} := e.{one.name}" for one in kind if one.name != "ts_ns")


def _shuffled(tables: Tables, _: Investigation) -> Alteration:
    """Rows in another order; a tenth of the spans twice, and each relation as two rounds of decoding saw it, which the contract
    allows."""
    selects = {table: f"SELECT * FROM told.{table}" for table in ("spans", "steps", "series", "samples", "events", "edges")}
    selects["spans"] += " UNION ALL SELECT * FROM told.spans WHERE hash(span_id) % 10 = 0"
    half = "count // 2"
    selects["edges"] = (f"{_replaced('edges', {'count': half})} UNION ALL {_replaced('edges', {'count': f'count - {half}'})}")
    return Alteration({table: f"SELECT * FROM ({select}) t ORDER BY hash(t)" for table, select in selects.items()})


def _decoys(tables: Tables, before: Investigation) -> Alteration:
    """As many idle entries of the change log again as there are, three at least, the first half a minute before users notice;
    and beside every measured entity a bystander, related to nothing, whose series repeat what the entity's were before that."""
    noticed_ns = before.window.end if before.impact.start is None else before.impact.start
    return Alteration({"events": _idle_changes(tables, noticed_ns), **_bystanders(noticed_ns - 60_000_000_000)})


def _idle_changes(tables: Tables, noticed_ns: int) -> str:
    gateways = tables.query("SELECT DISTINCT gateway FROM requests WHERE gateway IS NOT NULL ORDER BY 1").to_pylist()
    things = [("deploy", "", "dashboards 3.4 released"), ("config_change", gateways[0]["gateway"], "log level set to info"),
              ("note", gateways[-1]["gateway"], "certificate renewed")]  # fmt: skip
    count = max(3, tables.query("SELECT count(*) AS n FROM told.events").to_pylist()[0]["n"])
    rows = [
        f"SELECT {noticed_ns - (30 + 40 * i) * 1_000_000_000} AS ts_ns, {queries.literal(kind)} AS kind, "
        f"{queries.literal(entity)} AS entity, {queries.literal(summary)} AS summary"
        for i, (kind, entity, summary) in enumerate(things[i % 3] for i in range(count))
    ]
    return " UNION ALL BY NAME ".join(["SELECT * FROM told.events", *rows])


def _bystanders(calm_ns: int) -> dict[str, str]:
    twin = "xor(series_id, 6148914691236517205)"
    beside = " OR ".join(f"entity LIKE '{kind}:%'" for kind in BYSTANDERS)
    series = f"SELECT * REPLACE ({twin} AS series_id, entity || '-bystander' AS entity) FROM told.series WHERE {beside}"
    samples = f"""
        WITH own AS (
            SELECT m.*, s.type, row_number() OVER w - 1 AS i, value - lag(value) OVER w AS more
            FROM told.samples m JOIN told.series s USING (series_id) WHERE {beside}
            WINDOW w AS (PARTITION BY m.series_id ORDER BY m.ts_ns)
        ),
        calm AS (SELECT *, count(*) OVER (PARTITION BY series_id) AS n FROM own WHERE ts_ns < {calm_ns})
        SELECT xor(o.series_id, 6148914691236517205) AS series_id, o.ts_ns, o.start_ns, c.hist_count, c.hist_sum,
            CASE WHEN o.type = 'counter' THEN sum(COALESCE(c.more, 0)) OVER (PARTITION BY o.series_id ORDER BY o.ts_ns)
                 ELSE c.value END AS value
        FROM own o JOIN calm c ON c.series_id = o.series_id AND c.i = o.i % c.n"""
    return {"series": f"SELECT * FROM told.series UNION ALL {series}",
            "samples": f"SELECT * FROM told.samples UNION ALL BY NAME ({samples})"}  # fmt: skip


def _without_changes(tables: Tables, _: Investigation) -> Alteration:
    return Alteration({"events": "SELECT * FROM told.events WHERE false"})


def _scaled(columns: Mapping[str, tuple[str, ...]], unit: str, factor: int) -> Callable[[Tables, Investigation], Alteration]:
    """Everything that is counted in ``unit`` times ``factor``, in rows and in series."""

    def alter(tables: Tables, _: Investigation) -> Alteration:
        selects = {
            table: _replaced(table, {column: f"CAST({column} * {factor} AS {sql_type(_type(table, column))})" for column in of})
            for table, of in columns.items()
        }
        return Alteration({**selects, "samples": _scaled_samples(f"unit = {queries.literal(unit)}", factor)})

    return alter


def _type(table: str, column: str) -> Any:
    return next(one.type for one in TABLES[table].columns if one.name == column)


def _scaled_samples(which: str, factor: int) -> str:
    scaled = f"series_id IN (SELECT series_id FROM told.series WHERE {which})"
    return _replaced("samples", {
        column: f"CASE WHEN {scaled} THEN {column} * {factor} ELSE {column} END"
        for column in ("value", "hist_sum", "hist_min", "hist_max")
    })  # fmt: skip


def _free_gauges() -> list[str]:
    """Gauges of which only ratios to their own past are read, so that their unit is anybody's choice."""
    free = {metric.of for signal in SIGNALS.values() for metric in signal.metrics
            if signal.scale == "ratio" and metric.form in ("mean", "observed")}  # fmt: skip
    bound = {name for signal in SIGNALS.values() for metric in signal.metrics for name in (metric.of, metric.over)
             if signal.scale != "ratio" or metric.form not in ("mean", "observed")}  # fmt: skip
    return sorted(free - bound)


def _scaled_gauges(tables: Tables, _: Investigation) -> Alteration:
    named = ", ".join(queries.literal(name) for name in _free_gauges())
    return Alteration({"samples": _scaled_samples(f"signal IN ({named})", 1000)})


def _by_lot(entity: str, number: int, count: int) -> str:
    return f"{hashlib.sha256(entity.encode()).hexdigest()[:8]} n'{number} ü%"


TRANSFORMATIONS: tuple[Transformation, ...] = (
    Transformation("names in reverse order", "identical but for the names",
                   _renamed(lambda entity, number, count: f"x{count - number:03d}"), _identical),
    Transformation("names by lot", "identical but for the names", _renamed(_by_lot), _identical),
    Transformation("another epoch", "identical but for the times", _shifted, _identical),
    Transformation("rows shuffled", "identical", _shuffled, _identical),
    Transformation("twice the decoys", "same entity first", _decoys, _same_entity),
    Transformation("no change log", f"same entity first, or an abstention, without a suspect of {SURE:g} or more",
                   _without_changes, _same_or_silent),
    Transformation("three tokens for one", "same entity and mechanism first", _scaled(TOKENS, "tokens", 3), _same_trigger),
    Transformation("three blocks for one", "same entity and mechanism first", _scaled(BLOCKS, "blocks", 3), _same_trigger),
    Transformation("gauges in thousandths", "same entity and mechanism first", _scaled_gauges, _same_trigger),
)  # fmt: skip
"""All that need no other replay."""


def try_all(tables: CopiedTables) -> tuple[Investigation, dict[str, list[str]]]:
    """The answer on a store as it is; and for each transformation by name what of its invariant is broken, nothing when it
    holds."""
    tables.tell(Alteration({}))
    before = investigate(tables)
    broken = {}
    for one in TRANSFORMATIONS:
        broken[one.name] = one.try_on(tables, before)
    tables.tell(Alteration({}))
    return before, broken
