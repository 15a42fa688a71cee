"""Networks that answer with a sentence for each image."""
