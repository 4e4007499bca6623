"""How long a step takes: a roofline per hardware profile, charged with the unscaled token counts.

``scale``: torch computes shortened prompts and outputs (``prompt_scale``, ``output_scale``). A step that advances every
sequence by one scaled output token stands for ``1 / output_scale`` decode iterations of the real service, and a scaled
prompt token for ``1 / prompt_scale`` real ones; the model charges those. Prefill and decode share the GPU (chunked
prefill), so their times add up (Sarathi-Serve, Agrawal et al., OSDI'24).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collectors.errors import BadInput


class Profile(BaseModel):
    """A hardware profile. Times in milliseconds, rates in unscaled tokens per second."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    prefill_tokens_per_s: float = Field(gt=0)
    decode_base_ms: float = Field(ge=0)
    decode_per_sequence_ms: float = Field(ge=0)
    step_overhead_ms: float = Field(ge=0)


def profile_names() -> list[str]:
    """The profiles that ship with the engine."""
    folder = resources.files("instrumented_engine") / "profiles"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_profile(name: str) -> Profile:
    """The shipped profile called ``name``, or the TOML file at that path; raises BadInput naming the file and the fix."""
    path = Path(name)
    if not name.endswith(".toml"):
        if name not in profile_names():
            raise BadInput(f"hardware profile {name!r} does not exist; there are: {', '.join(profile_names())}")
        path = Path(str(resources.files("instrumented_engine") / "profiles" / f"{name}.toml"))
    try:
        return Profile.model_validate(tomllib.loads(path.read_text())["profile"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        raise BadInput(f"{path}: not a hardware profile: {error}") from error


@dataclass(frozen=True, slots=True)
class CostModel:
    """Step times of one replica. ``speed``: 1.0 as the profile says, 0.25 four times slower."""

    profile: Profile
    prompt_scale: float
    output_scale: float

    def decode_ns(self, sequences: int, speed: float) -> int:
        """Nanoseconds to advance ``sequences`` by one scaled output token each; 0 for none."""
        if sequences == 0:
            return 0
        per_iteration = self.profile.decode_base_ms + self.profile.decode_per_sequence_ms * sequences
        return round(per_iteration / self.output_scale * 1e6 / speed)

    def prefill_ns(self, scaled_tokens: int, speed: float) -> int:
        """Nanoseconds to compute ``scaled_tokens`` prompt tokens."""
        return round(scaled_tokens / self.prompt_scale / self.profile.prefill_tokens_per_s * 1e9 / speed)

    def step_ns(self, prefill_tokens: int, decoding: int, speed: float) -> int:
        """Duration of a step that computes ``prefill_tokens`` scaled prompt tokens and advances ``decoding`` sequences."""
        overhead = round(self.profile.step_overhead_ms * 1e6 / speed)
        return overhead + self.decode_ns(decoding, speed) + self.prefill_ns(prefill_tokens, speed)

    def prefill_budget(self, decoding: int, target_ns: int) -> int:
        """Scaled prompt tokens that fit beside ``decoding`` sequences into a step of ``target_ns`` at nominal speed; at
        least one. The scheduler plans with nominal speed: an engine does not know that its GPU has slowed down."""
        left_ns = target_ns - self.step_ns(0, decoding, 1.0)
        per_token_ns = 1e9 / self.profile.prefill_tokens_per_s / self.prompt_scale
        return max(1, int(left_ns / per_token_ns))
