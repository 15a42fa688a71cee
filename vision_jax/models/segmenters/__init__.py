"""Networks that answer with scores of classes for every pixel."""
