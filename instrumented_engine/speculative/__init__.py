"""Speculative decoding by the multi-token-prediction head."""
