"""From what happens in the cluster to telemetry: names of spans, metrics and events."""
