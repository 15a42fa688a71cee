"""The page of documentation that lists the zoo."""

from collections.abc import Iterator

from vision_jax.weights.zoo import entries
from vision_jax.weights.zoo.entry import Entry

_HEAD = """# The zoo

`python -m vision_jax.weights table` writes this page. Each name can stand for a file wherever one
is asked for: `--config.init.weights=NAME`, `weights.load`, `weights.pretrained`, `python -m
vision_jax.weights fetch`. [Pretrained weights](pretrained-weights.md) says how files are fetched
and kept.

Numbers under *published* are the publishers'; none has been measured by us. *Parity* names the
stored outputs of the reference with which the network and its names were compared, on seeded
weights; *untested* rows were compared in the names alone, or share them with a row that was
compared. *Part* is a file that starts a training and has no answers of its own. The licence is that
of the weights. An experiment has the row's data and recipe; where its own network is another form
of the row's, its argument `published=NAME` takes the row's.
"""
_TITLES = ("name", "published", "parity", "images", "licence", "experiment")


def page() -> str:
    """Returns the page, one table per source."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries().values():
        groups.setdefault(entry.name.partition("/")[0], []).append(entry)
    tables = (_table(source, rows) for source, rows in groups.items())
    return "\n".join([_HEAD, *(line for table in tables for line in table)])


def _table(source: str, rows: list[Entry]) -> Iterator[str]:
    """Yields the lines of a source's table."""
    yield f"## {source}\n"
    yield f"| {' | '.join(_TITLES)} |"
    yield f"|{' --- |' * len(_TITLES)}"
    for entry in rows:
        script = f"experiments/{entry.experiment}.py"
        cells = (
            f"`{entry.name}`",
            entry.metric or "–",
            f"golden ({entry.golden})" if entry.golden else "untested",
            str(entry.preprocessing) if entry.preprocessing else "part",
            entry.weights_licence,
            f"`{script}`" if entry.experiment else "–",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
