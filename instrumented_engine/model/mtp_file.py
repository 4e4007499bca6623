"""The file of an MTP head: where it is, what it holds, and the acceptance that was measured. Needs no torch."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from collectors.errors import BadInput


def shipped_mtp(size: str) -> Path:
    """Where the head of model size ``size`` comes with the engine."""
    return Path(str(resources.files("instrumented_engine") / "profiles" / f"mtp_{size}.npz"))


def acceptance_of(path: Path) -> list[float]:
    """The share of drafts that were right on prompts held out from the distillation, by position. BadInput without a file."""
    return [float(share) for share in read_mtp(path)[1]["acceptance"]]


def read_mtp(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the provenance of the file at ``path``. Raises BadInput that says how to make one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, json.loads(file["provenance"].tobytes())
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise BadInput(f"{path}: no MTP head: {error}; python -m instrumented_engine.model.distil_mtp makes one") from error
