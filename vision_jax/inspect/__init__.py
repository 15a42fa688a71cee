"""Looks at a network: its layers and their costs, and what its pixels see."""
