"""GPUs, NICs and hosts below the replicas, and how they fail."""
