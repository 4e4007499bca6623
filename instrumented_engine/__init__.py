"""Floor 1: a small serving cluster whose incidents are real because its mechanisms are."""
