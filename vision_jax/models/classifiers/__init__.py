"""Networks that answer with scores of classes for a whole image."""
