"""The collector as a service: the journal's group commits, the worker process and its keeper, its own health."""
