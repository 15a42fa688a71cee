"""Networks that answer with an image for each image."""
