"""OTLP over HTTP and gRPC: from the socket to a plain, well-formed body at the door."""
