"""Sizes of the model by name, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.errors import BadInput
from instrumented_engine.model.runner import ModelShape


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A DeepSeek-style decoder: multi-head latent attention (DeepSeek-V2, arXiv 2405.04434 §2.1) and, in every layer,
    one shared expert beside ``experts`` routed ones of which ``top_k`` serve a token (DeepSeek-V3, arXiv 2412.19437 §2.1).

    ``latent + rope`` numbers per token and layer are all that the KV cache holds. ``nope``, ``value``: per-head widths of
    the position-free query/key part and of the value. ``inter``: hidden width of one expert.
    """

    name: str
    width: int
    layers: int
    heads: int
    latent: int
    rope: int
    nope: int
    value: int
    experts: int
    top_k: int
    inter: int
    vocabulary: int
    context: int

    @property
    def shape(self) -> ModelShape:
        """What the engine must know."""
        return ModelShape(self.layers, self.experts, self.top_k, self.context, self.vocabulary)

    @property
    def entry(self) -> int:
        """Numbers cached per token and layer."""
        return self.latent + self.rope

    @property
    def parameters(self) -> int:
        """Weights in the layers; the two ``vocabulary * width`` tables are not counted."""
        query = self.width * self.heads * (self.nope + self.rope)
        key_value = self.width * self.entry + self.latent * self.heads * (self.nope + self.value)
        output = self.heads * self.value * self.width
        routed = (self.experts + 1) * 3 * self.width * self.inter + self.experts * (self.width + 1)
        return self.layers * (query + key_value + output + routed)


SIZES = {
    size.name: size
    for size in (
        ModelSize(
            name="S", width=128, layers=4, heads=4, latent=32, rope=8, nope=32, value=32,
            experts=16, top_k=2, inter=64, vocabulary=4096, context=2048,
        ),
    )
}


def size_named(name: str) -> ModelSize:
    """The size called ``name``; raises BadInput naming those there are."""
    if name not in SIZES:
        raise BadInput(f"model size {name!r} does not exist; there are: {', '.join(sorted(SIZES))}")
    return SIZES[name]
