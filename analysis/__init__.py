"""Floor 1: from stored telemetry to an Investigation. Sees telemetry alone."""
