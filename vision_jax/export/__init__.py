"""Programs that run elsewhere."""
