"""Public data: what the readers make of folders, what they refuse, and that metrics of the score are the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from collectors.errors import BadInput
from incidents.benchmark.public import changepoints, petshop, ranking, rca_csv
from incidents.commands.benchmark import main
from tests.support.shared_data import shared

STEP_S = 300.0


def write_metrics(path: Path, start_s: float, rows: int, slow: str = "") -> None:
    """Three services; one of them answers ten times slower than it did."""
    luck = np.random.default_rng(rows)
    names = [(service, metric, stat) for service in ("shop", "search", "store")
             for metric, stat in (("latency", "Average"), ("latency", "p99"), ("requests", "Sum"))]  # fmt: skip
    lines = [",".join([head, *(name[i] for name in names)]) for i, head in enumerate(("microservice", "metric", "statistic"))]
    lines.append("unix_timestamp" + "," * len(names))
    for i in range(rows):
        cells = [f"{luck.normal(1, 0.05) * (10 if service == slow and metric == 'latency' else 1):.6f}"
                 for service, metric, _ in names]  # fmt: skip
        cells[-1] = cells[-1] if i % 5 else ""
        lines.append(",".join([str(start_s + i * STEP_S), *cells]))
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


def pets(folder: Path) -> Path:
    """A small PetShop, with one traffic that has no normal file."""
    write_metrics(folder / "high/noissue/metrics.csv", 1_700_000_000, 200)
    for traffic in ("high", "temporal"):
        write_metrics(folder / traffic / "train/issue_0/metrics.csv", 1_600_000_000, 6, slow="search")
        (folder / traffic / "graph.csv").write_text(",shop,search,store\nshop,0,1,0\nsearch,0,0,1\nstore,0,0,0\n")
        (folder / traffic / "train/issue_0/target.json").write_text(json.dumps({
            "target": {"node": "shop", "metric": "latency", "agg": "Average", "timestamp": 1_600_000_000 + 2 * STEP_S},
            "root_cause": {"node": "search", "metric": None},
        }))  # fmt: skip
    return folder


def sock_shop(folder: Path) -> Path:
    """Both layouts of RCAEval, and stray files."""
    luck = np.random.default_rng(1)

    def rows(start: int, count: int, cpu: float) -> list[str]:
        values = luck.normal((1, cpu, 5e8), (0.1, 0.1, 1e6), (count, 3))
        return [f"{start + i},{latency:.4f},{busy:.4f},{mem:.0f},x" for i, (latency, busy, mem) in enumerate(values)]

    head = "time,front-end_latency-50,carts-db_cpu,carts_mem,note"
    one, other = folder / "carts-db-cpu" / "1", folder / "carts_mem" / "2"
    one.mkdir(parents=True)
    (one / "normal.csv").write_text("\n".join([head, *rows(0, 60, 1)]))
    (one / "anomalous.csv").write_text("\n".join([head, *rows(0, 30, 9)]))
    other.mkdir(parents=True)
    (other / "data.csv").write_text("\n".join([head, *rows(1_000, 90, 1)]))
    (other / "inject_time.txt").write_text("1060\n")
    (folder / "README.md").write_text("stray")
    (folder / "carts_mem" / "notes").mkdir()
    return folder


def test_petshop_becomes_one_timeline_and_a_proxy_where_there_is_no_normal_file(tmp_path: Path) -> None:
    issues, quiet = petshop.petshop(pets(tmp_path))
    assert [case.name for case in issues] == ["high/train/issue_0", "temporal/train/issue_0"]
    for case in issues:
        assert len(case.table.times_s) == 144 + 6
        assert np.allclose(np.diff(case.table.times_s), STEP_S)
        assert case.calls == {("shop", "search"), ("search", "store")}
        assert case.label() == ("search",)
    assert all(len(case.table.times_s) == 144 + 6 for case in quiet)
    assert quiet


def test_rca_csv_reads_both_layouts_and_leaves_stray_files_alone(tmp_path: Path) -> None:
    cases, quiet = rca_csv.rca_csv(sock_shop(tmp_path))
    assert [case.name for case in cases] == ["carts-db-cpu/1", "carts_mem/2"]
    assert [case.label() for case in cases] == [("carts-db",), ("carts",)]
    assert [case.target for case in cases] == ["front-end"] * 2
    assert {column.unit for column in cases[0].table.columns} == {"s", "", "By"}
    assert cases[1].alarm_s == 1060
    assert [len(case.table.times_s) for case in quiet] == [60, 60]


@pytest.mark.parametrize(("benchmark", "make"), [("petshop", pets), ("rca-csv", sock_shop)])
def test_one_object_comes_out_of_the_store_and_a_baseline_finds_what_was_planted(
    benchmark: str, make: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path)
    assert main([benchmark, str(folder), "--json", "--jobs", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["benchmark", "cases", "top1", "top3", "avg5", "specificity", "cpu_s_per_case"]
    assert (told["benchmark"], told["cases"]) == (benchmark, 2)
    case = ranking.READERS[benchmark](folder)[0][0]
    scored = ranking.ranked(case)
    assert scored["N-Sigma"]["top1"] == 1.0
    assert scored["chance"].keys() == scored["Flashover"].keys()


def test_labels_are_read_after_the_last_ranking(tmp_path: Path) -> None:
    """The label's file may be gone while the case is read, not while it is scored."""
    folder = pets(tmp_path)
    case = petshop.petshop(folder)[0][0]
    (folder / "high/train/issue_0/target.json").unlink()
    with pytest.raises(BadInput, match=r"target\.json"):
        ranking.ranked(case)


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: (f / "high/graph.csv").write_text(",shop,search\nshop,0,x\n"), r"graph\.csv: line 2"),
    (lambda f: (f / "high/graph.csv").write_text(""), r"graph\.csv: line 1"),
    (lambda f: (f / "high/noissue/metrics.csv").write_text("a,b\n"), r"metrics\.csv: line 1 must begin with 'microservice'"),
    (lambda f: (f / "high/train/issue_0/target.json").write_text("{}"), r"target\.json: needs target"),
    (lambda f: [(f / t / "train/issue_0/metrics.csv").unlink() for t in ("high", "temporal")], "issue_N"),
    (lambda f: [(f / t / "graph.csv").unlink() for t in ("high", "temporal")], r"graph\.csv"),
])  # fmt: skip
def test_a_petshop_of_another_layout_is_refused(change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    change(pets(tmp_path))
    with pytest.raises(BadInput, match=message):
        petshop.petshop(tmp_path)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("carts-db-cpu/1/normal.csv", "a,b\n1,2\n3,4\n", "a column 'time'"),
    ("carts-db-cpu/1/normal.csv", "time,carts_cpu\n1,x\n2,1\n", "line 2, column carts_cpu"),
    ("carts-db-cpu/1/normal.csv", "time,carts_cpu\n2,1\n1,1\n", "time must rise"),
    ("carts-db-cpu/1/normal.csv", "time,carts\n2,1\n3,1\n", "<service>_<metric>"),
    ("carts_mem/2/inject_time.txt", "soon", r"inject_time\.txt"),
    ("carts_mem/2/inject_time.txt", "5", "does not lie within"),
])  # fmt: skip
def test_rca_csv_names_file_and_place_of_what_cannot_be(name: str, text: str, message: str, tmp_path: Path) -> None:
    (sock_shop(tmp_path) / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        rca_csv.rca_csv(tmp_path)


def test_a_point_is_found_by_one_prediction_and_index_0_counts() -> None:
    assert changepoints.f1([[50]], [50]) == 1.0
    assert changepoints.f1([[50]], [44]) == 0.5
    assert changepoints.f1([[50], []], []) == pytest.approx(2 * 0.75 / 1.75)
    assert changepoints.f1([[50]], [48, 52]) == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert changepoints.cover([[50]], [50], 100) == 1.0
    assert changepoints.cover([[50]], [], 100) == 0.5


def test_a_step_is_seen_and_noise_is_not() -> None:
    luck = np.random.default_rng(3)
    values = luck.normal(10, 1, 160)
    assert changepoints.changes(values)[0] == []
    values[80:] += 20
    found = changepoints.changes(values)[0]
    assert len(found) == 1
    assert abs(found[0] - 80) <= changepoints.MARGIN


def test_no_change_scores_what_is_published_on_the_series_beside_this_checkout() -> None:
    folder = shared("tcpd")
    series = changepoints.read_series(folder)
    notes = changepoints.read_annotations(folder / "annotations.json", series)
    f1 = {name: changepoints.f1(notes[name], []) for name in series}
    cover = {name: changepoints.cover(notes[name], [], len(values)) for name, values in series.items()}
    assert len(series) == 15
    assert round(float(np.mean(list(f1.values()))), 3) == 0.712
    assert round(float(np.mean(list(cover.values()))), 3) == 0.628
    assert (round(f1["nile"], 3), round(cover["nile"], 3)) == (0.824, 0.758)


def test_circa_and_n_sigma_score_on_petshop_as_published() -> None:
    """Published (all 68 less the 48 of TEST): CIRCA with the graph given .55 and .80, BARO's scorer .50."""
    issues, _ = petshop.petshop(shared("petshop"))
    scored = [ranking.ranked(case) for case in issues[::3]]
    assert len(issues) == 20
    assert float(np.mean([one["CIRCA, graph given"]["top3"] for one in scored])) >= 0.5
    assert float(np.mean([one["N-Sigma"]["top3"] for one in scored])) >= 0.5


def test_changepoints_refuse_another_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no series"):
        changepoints.read_series(tmp_path)
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(BadInput, match=r"one\.json"):
        changepoints.read_series(tmp_path)
    with pytest.raises(BadInput, match=r"annotations\.json"):
        changepoints.read_annotations(tmp_path / "annotations.json", ["one"])


def test_what_cannot_be_judged_is_null_and_not_a_number_that_json_lacks() -> None:
    nothing = dict.fromkeys(("top1", "top3", "avg5", "specificity", "cpu_s_per_case"), (float("nan"),) * 3)
    told = json.loads(json.dumps(ranking.one_object("petshop", 0, nothing), allow_nan=False))
    assert told["specificity"] is None
