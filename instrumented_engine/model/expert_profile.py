"""Which experts tokens choose, recorded from torch: the file that ``recorded_runner`` samples from.

The profile keeps the choices themselves, token after token in the order in which steps computed them, and not moments of
them. A run of consecutive tokens drawn at a random place (a block bootstrap: Künsch, Annals of Statistics 17(3), 1989) then
has their means, their over-dispersion, the ties between layers and ``top_k`` different experts a token, all for one
subtraction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from collectors.errors import BadInput
from instrumented_engine.model.runner import ModelShape

Choices = NDArray[np.uint8]
"""[tokens, layers, top_k] expert numbers."""


class Tally:
    """Loads of runs of consecutive recorded tokens; the last token is followed by the first."""

    def __init__(self, choices: Choices, experts: int) -> None:
        self.tokens, layers, top_k = choices.shape
        self.width = layers * experts
        column = choices.astype(np.int64) + (np.arange(layers) * experts)[:, None]
        cell = np.repeat(np.arange(self.tokens), layers * top_k) * self.width + column.ravel()
        each = np.bincount(cell, minlength=self.tokens * self.width).reshape(self.tokens, self.width)
        self.until = np.zeros((self.tokens + 1, self.width), np.int32)
        np.cumsum(each, axis=0, out=self.until[1:])

    def load(self, start: int, count: int) -> NDArray[np.int32]:
        """Load [layers * experts] of ``count`` tokens from number ``start``, which may be any integer, on."""
        first = start % self.tokens
        last = first + count
        if last <= self.tokens:
            within: NDArray[np.int32] = self.until[last] - self.until[first]
            return within
        rounds, rest = divmod(last, self.tokens)
        around: NDArray[np.int32] = self.until[-1] * np.int32(rounds) + self.until[rest] - self.until[first]
        return around


@dataclass(frozen=True, slots=True)
class ExpertProfile:
    """``prefill``: tokens of chunks longer than one; ``decode``: tokens of chunks of one. ``provenance``: how, and of
    which model, they were recorded."""

    prefill: Choices
    decode: Choices
    provenance: dict[str, str | int | float]

    def save(self, path: Path) -> None:
        """Write an .npz file: the same bytes for the same content and numpy."""
        text = np.frombuffer(json.dumps(self.provenance, sort_keys=True).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez_compressed(file, prefill=self.prefill, decode=self.decode, provenance=text)


def shipped(size: str, content: str = "") -> Path:
    """Where the profile of model size ``size``, for text about ``content``, comes with the engine."""
    name = f"experts_{size}_{content}.npz" if content else f"experts_{size}.npz"
    return Path(str(resources.files("instrumented_engine") / "profiles" / name))


def load_expert_profile(path: Path, shape: ModelShape) -> ExpertProfile:
    """Read the profile at ``path``; raises BadInput if there is none, or one of another model."""
    try:
        with np.load(path, allow_pickle=False) as file:
            profile = ExpertProfile(file["prefill"], file["decode"], json.loads(file["provenance"].tobytes()))
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        fix = "python -m instrumented_engine.model.record_experts makes one"
        raise BadInput(f"{path}: not an expert profile: {error}; {fix}") from error
    for name, choices in (("prefill", profile.prefill), ("decode", profile.decode)):
        fits = choices.dtype == np.uint8 and choices.shape[1:] == (shape.layers, shape.top_k)
        if not fits or not len(choices) or int(choices.max()) >= shape.experts:
            raise BadInput(
                f"{path}: its {name} table {choices.shape} is not of a model of {shape.layers} layers with top-{shape.top_k} "
                f"of {shape.experts} experts"
            )
    return profile
