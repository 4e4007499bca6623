"""The chat service before the API: login, history, front queue."""
