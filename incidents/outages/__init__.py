"""Public outages: what was officially marked, each published explanation as a scenario, and which of them reproduce it."""
