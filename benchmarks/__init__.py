"""Speed beside that of peers, in one run: `python -m benchmarks [filter]`; see README.md here."""
