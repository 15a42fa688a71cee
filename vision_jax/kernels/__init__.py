"""How a platform computes an operation fast; a reader of papers may skip this room."""
