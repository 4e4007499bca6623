"""Prefill and decode on different replicas, and the KV transfer between them."""
