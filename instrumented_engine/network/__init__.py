"""Links: latency, bandwidth, loss."""
