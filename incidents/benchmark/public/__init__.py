"""Public data of other people's outages and series, through the same store and the same analysis as our own."""
