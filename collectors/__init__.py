"""Floor 0: the telemetry contract, the intake and the store."""
