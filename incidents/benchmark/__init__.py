"""How good an analysis is: many cases with proven labels, and published methods on the same telemetry."""
