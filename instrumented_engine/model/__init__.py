"""The model and what computes it: torch, or draws recorded from torch."""
