"""From the front door to a replica: admission, routing, serving."""
