"""Mixture of experts across ranks: placement, lock-step, rebalancing."""
