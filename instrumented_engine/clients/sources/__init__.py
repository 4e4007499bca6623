"""Where cohorts with a source of their own get their requests from."""
