"""docs/collecting.md says what is: settings, metrics, outcomes, links and command lines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import get_args

import flashover
from collectors import settings
from collectors.decode.limits import Reason
from collectors.service.own_metrics import Outcome, markdown

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/collecting.md").read_text(encoding="utf-8")
NAMES = {setting.name for setting in settings.SETTINGS}


def section(title: str) -> str:
    """The text below ``## title``."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def test_every_setting_it_names_is_one() -> None:
    assert set(re.findall(r"`((?:collect|store)\.\w+)`", PAGE)) <= NAMES


def test_every_limit_of_the_collector_is_in_its_table() -> None:
    listed = set(re.findall(r"^\| [^|]+ \| `(collect\.\w+)` \|", section("Limits"), re.MULTILINE))
    elsewhere = {"collect.http", "collect.grpc", "collect.tls_cert", "collect.tls_key", "collect.token_file",
                 "collect.stuck_after_s", "collect.keep_text"}
    assert listed == {name for name in NAMES if name.startswith("collect.")} - elsewhere
    assert all(f"`{reason}`" in PAGE for reason in get_args(Reason))


def test_every_outcome_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section("What is answered"), re.MULTILINE)
    assert sorted(rows) == sorted(get_args(Outcome))


def test_the_metrics_are_the_code_s_and_alerts_name_them() -> None:
    assert markdown() in section("Health and metrics")
    named = set(re.findall(r"`?(flashover_collector_[a-z_]+)", section("Health and metrics")))
    known = set(re.findall(r"^\| `(\w+)`", markdown(), re.MULTILINE)) | {"flashover_collector_worker_process_"}
    assert named <= known


def test_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", PAGE) if "://" not in link]
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_command_line_uses_a_verb_and_options_it_has() -> None:
    lines = re.findall(r"^flashover (.+)$", PAGE, re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        verb, *words = shlex.split(line)
        assert verb in flashover.VERBS, line
        source = (ROOT / (flashover.VERBS[verb][0].replace(".", "/") + ".py")).read_text()
        assert all(f'"{word}"' in source for word in words if word.startswith("--")), line
        if verb == "store":
            assert re.search(rf"\b{words[0]}\b", source), line


def test_every_target_has_its_row() -> None:
    rows = re.findall(r"^\| (T\d+|soak) \|", section("Figures"), re.MULTILINE)
    assert rows == ["T1", "T2", "T4", "T9", "T10", "T11", "T12", "soak"]
