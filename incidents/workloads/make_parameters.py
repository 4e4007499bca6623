"""Derives the shipped workload parameters from the full archives: ``python -m incidents.workloads.make_parameters FOLDER``.

FOLDER holds ``servegen_bailian/``, ``weka_claude_code_traces/`` and ``deepseek_inference_day6/``. What is derived, and
how, says NOTICE.txt.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import sys
import tarfile
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import zstandard

HERE = Path(__file__).parent
QUANTILES = 21
CLIENTS = 12
SESSIONS = 16
WINDOWS = 6


def archive(path: Path) -> tarfile.TarFile:
    """An upstream archive: tar in zstd with a long window."""
    stream = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(io.BytesIO(path.read_bytes()))
    return tarfile.open(fileobj=io.BytesIO(stream.read()))


def quantiles(histogram: dict[int, float]) -> list[int]:
    """Evenly spaced quantiles, least and greatest included."""
    total, cumulated = sum(histogram.values()), 0.0
    found: list[int] = []
    for value, share in sorted(histogram.items()):
        cumulated += share / total
        while len(found) < QUANTILES and cumulated + 1e-9 >= len(found) / (QUANTILES - 1):
            found.append(int(value))
    return found + [int(max(histogram))] * (QUANTILES - len(found))


def servegen(path: Path, inputs: tuple[str, ...]) -> list[dict[str, Any]]:
    """The clients with most requests: rate and CV an hour (mean over its windows), quantiles of lengths over the day."""
    with archive(path) as tar:
        traces = {name: tar.extractfile(name) for name in tar.getnames() if name.endswith("-trace.csv")}
        clients = []
        for name, file in traces.items():
            assert file is not None
            rows = [[float(cell or 0) for cell in (row[0], row[1], row[2])] for row in csv.reader(io.TextIOWrapper(file))]
            clients.append((sum(row[1] for row in rows), name, rows))
        found = []
        for _, name, rows in sorted(clients, reverse=True)[:CLIENTS]:
            dataset = tar.extractfile(name.replace("-trace.csv", "-dataset.json"))
            assert dataset is not None
            lengths = pooled(json.loads(dataset.read()), rows, (*inputs, "output_tokens"))
            hours = [rows[i : i + WINDOWS] for i in range(0, len(rows), WINDOWS)]
            found.append({
                "client": name.rpartition("/")[2].removesuffix("-trace.csv"),
                "rate_per_s": [round(sum(row[1] for row in hour) / len(hour), 4) for hour in hours],
                "cv": [round(sum(row[2] for row in hour) / len(hour), 3) for hour in hours],
                **{field: quantiles(values) for field, values in lengths.items()},
            })
    return found


def pooled(windows: dict[str, dict[str, str]], rows: list[list[float]], fields: tuple[str, ...]) -> dict[str, dict[int, float]]:
    """Histograms of ``fields``, each window weighted by the requests in it."""
    starts = sorted(int(start) for start in windows)
    out: dict[str, dict[int, float]] = {field: {} for field in fields}
    for start, end in zip(starts, [*starts[1:], 10**9], strict=True):
        weight = 1e-9 + sum(row[1] for row in rows if start <= row[0] < end)
        for field in fields:
            for value, share in ast.literal_eval(windows[str(start)][field]).items():
                out[field][value] = out[field].get(value, 0.0) + share * weight
    return out


def weka(path: Path) -> list[list[list[float]]]:
    """Sessions of 30 to 120 requests, in the archive's order of names; per request: think time s, tokens in, tokens out,
    64-token blocks shared with the request before."""
    sessions = []
    with archive(path) as tar:
        for name in sorted(name for name in tar.getnames() if name.endswith(".json")):
            file = tar.extractfile(name)
            assert file is not None
            requests = [one for one in json.loads(file.read())["requests"] if one.get("type") == "n" and one["in"] > 0]
            if not 30 <= len(requests) <= 120:
                continue
            before: list[int] = []
            session = []
            for one in requests:
                pairs = zip(before, one["hash_ids"], strict=False)
                kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
                session.append([round(float(one.get("think_time") or 0.0), 1), one["in"], max(1, one["out"]), kept])
                before = one["hash_ids"]
            sessions.append(session)
            if len(sessions) == SESSIONS:
                break
    return sessions


def day6(path: Path) -> list[float]:
    """The share of the day's load in each hour, from 12:00 Beijing time."""
    with path.open() as file:
        return [float(row["share_of_day"]) for row in csv.DictReader(file)]


def day6_nodes(path: Path) -> list[list[float]]:
    """Hours from 12:00 Beijing time, and the share of the nodes that serve from then on."""
    with path.open() as file:
        rows = [(datetime.fromisoformat(row["start_beijing"]), float(row["h800_nodes"])) for row in csv.DictReader(file)]
    most = max(nodes for _, nodes in rows)
    return [[(moment - rows[0][0]).total_seconds() / 3_600, round(nodes / most, 4)] for moment, nodes in rows]


def main(folder: Path) -> None:
    """Write the files beside this one."""
    parameters: dict[str, Any] = {
        "servegen_deepseek_r1": servegen(folder / "servegen_bailian/sg_reason_deepseek-r1.tar.zst", ("input_tokens",)),
        "servegen_mm_image": servegen(
            folder / "servegen_bailian/sg_multimodal_mm-image.tar.zst", ("text_tokens", "image_tokens")
        ),
        "weka_agents": weka(folder / "weka_claude_code_traces/weka_traces.tar.zst"),
        "day6_nodes": day6_nodes(folder / "deepseek_inference_day6/h800_node_steps.csv"),
        "day6_load": day6(folder / "deepseek_inference_day6/hourly_load.csv"),
    }
    for name, content in parameters.items():
        lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in content)
        (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
