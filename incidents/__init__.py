"""Floor 2: the scenario library, replay, and the demo."""
