"""The detective has no way to the answer: analysis, and what feeds it, name neither scenarios nor their truth."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLIND = ("collectors", "analysis", "dashboards")
SECRETS = re.compile(r"truth|scenario", re.IGNORECASE)


def said_by(path: Path) -> Iterator[str]:
    """Every name and every text of a Python file but its docstrings; the whole text of another file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    tree = ast.parse(text)
    talk = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in talk:
            yield node.value
        for field in ("id", "attr", "arg", "name", "module"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield name


def sources(room: str) -> list[Path]:
    return [path for path in sorted((ROOT / room).rglob("*")) if path.suffix in (".py", ".sql", ".toml", ".json")]


def slugs() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "incidents/library").glob("*/scenario.toml"))


@pytest.mark.parametrize("room", BLIND)
def test_a_blind_room_names_no_secret(room: str) -> None:
    assert sources(room)
    found = [
        f"{path.relative_to(ROOT)}: {text[:80]!r}"
        for path in sources(room)
        for text in said_by(path)
        if SECRETS.search(text) or any(slug in text for slug in slugs())
    ]
    assert found == []


def test_the_search_sees_names_texts_and_imports_but_no_docstring(tmp_path: Path) -> None:
    code = '"""A scenario."""\nfrom incidents.truth import x\ny = "truth.toml"\nscenario = z.truth_of(truth=1)\n'
    path = tmp_path / "a.py"
    path.write_text(code)
    found = [text for text in said_by(path) if SECRETS.search(text)]
    assert sorted(found) == ["incidents.truth", "scenario", "truth", "truth.toml", "truth_of"]


def test_the_environment_is_read_in_one_place() -> None:
    rooms = ("collectors", "instrumented_engine", "analysis", "incidents", "dashboards")
    readers = {
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if any(name in ("environ", "environb", "getenv") for name in said_by(path))
    }
    assert readers == {"collectors/settings.py"}
