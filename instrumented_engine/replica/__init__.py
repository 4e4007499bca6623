"""One replica: scheduler, paged KV memory, step loop, step times."""
