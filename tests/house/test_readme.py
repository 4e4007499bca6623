"""The README says what is: its map, its commands, its settings, its links and its make targets."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import flashover
from collectors import settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("collectors", "instrumented_engine", "analysis", "incidents", "dashboards")


def section(title: str) -> str:
    """The text below ``## title``."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def mapped() -> list[str]:
    """The paths of the file map, folders with a slash at their end."""
    block = re.search(r"```\n(.*?)```", section("File map"), re.DOTALL)
    assert block is not None
    paths, folder = [], ""
    for line in block[1].splitlines():
        if line.startswith("  "):
            paths.append(folder + line.split()[0])
        elif line.split()[0].endswith("/"):
            folder = line.split()[0]
            paths.append(folder)
        else:
            names, _, described = line.partition("   ")
            paths += names.split() if described else line.split()
    return paths


def tracked() -> set[str]:
    """The entries of the top folder that version control holds."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no list of files without git: {done.stderr.strip()}")
    return {name.split("/")[0] for name in done.stdout.splitlines()}


@pytest.mark.parametrize("path", mapped())
def test_what_the_map_names_is_there(path: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_the_map_names_every_entry_of_the_top_folder() -> None:
    assert {path.split("/")[0] for path in mapped()} == tracked() - {".gitignore"}


def test_the_map_names_every_folder_of_a_room() -> None:
    folders = {
        f"{path.relative_to(ROOT)}/"
        for room in ROOMS
        for path in (ROOT / room).iterdir()
        if path.is_dir() and path.name != "__pycache__" and any(file.suffix != ".pyc" for file in path.rglob("*.*"))
    }
    bare = {"dashboards/commands/"}
    assert folders - bare <= set(mapped())


def test_the_commands_are_the_verbs() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section("Commands"), re.MULTILINE)
    assert rows == [(verb, summary) for verb, (_, summary) in flashover.VERBS.items()]


def test_every_command_line_uses_a_verb_and_options_it_has() -> None:
    lines = re.findall(r"^flashover ((?!VERB).+)$", README, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        verb, *words = shlex.split(line)
        assert verb in flashover.VERBS, line
        options = {word for word in words if word.startswith("--")}
        source = (ROOT / (flashover.VERBS[verb][0].replace(".", "/") + ".py")).read_text()
        assert all(f'"{option}"' in source for option in options), line


def test_the_settings_are_the_table() -> None:
    assert settings.markdown() in section("Settings")


def test_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "bench"} <= targets
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)) <= targets


def test_the_demo_s_output_has_its_place() -> None:
    assert README.count("<!-- demo-output:begin -->") == README.count("<!-- demo-output:end -->") == 1
    assert README.index("<!-- demo-output:begin -->") < README.index("<!-- demo-output:end -->")


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"make {target}" in done.stdout for target in ("demo", "test", "check", "bench"))
