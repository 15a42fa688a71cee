"""Networks that answer with an embedding of each image, `embedding` (b, d)."""
