"""What starts, stops, probes and replaces replicas, with a capacity of its own."""
