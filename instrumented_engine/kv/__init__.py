"""KV-cache metadata: who holds which block, and how that knowledge travels."""
