"""Networks that give a whole image's class scores."""
