"""The choice of a table by names alone: under which prefix, and what is left on both sides."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

# Parts of names of buffers that train nothing: counters, grids of anchors, constants.
_BUFFERS = frozenset(
    (
        *("num_batches_tracked", "n_averaged", "total_ops", "total_params", "_extra_state"),
        *("anchors", "anchor_grid", "grid", "stride", "cell_anchors", "pixel_mean", "pixel_std"),
    )
)
_MOST_PREFIXES = 64
_LONGEST, _DEEPEST = 400, 16  # letters and parts of a name that matter
_NUMBER = re.compile(r"\d+")


class Match(NamedTuple):
    """A table under a prefix.

    Fields:
      table: its number.
      prefix: of every name in the file, 'module.'; '' for none.
      missing: the table's names that the file lacks.
    """

    table: int
    prefix: str
    missing: frozenset[str]


def exact(names: Collection[str], tables: Sequence[Collection[str]]) -> Match | None:
    """Returns the first table whose names, under some prefix, are the file's; None if none is."""
    size = sum(not is_buffer(name) for name in names)
    for match in _matches(names, tables):
        if not match.missing and len(tables[match.table]) == size:
            return match
    return None


def nearest(
    names: Collection[str],
    tables: Sequence[Collection[str]],
    heads: Sequence[Collection[str]],
) -> Match:
    """Returns the table that has most of the file's names.

    Among several, the one that misses least outside heads, then the first, is taken.

    Args:
      names: the file's.
      tables: the names of each table.
      heads: those of them that are in heads.
    """

    def distance(match: Match) -> tuple[int, int]:
        found = len(tables[match.table]) - len(match.missing)
        return -found, len(match.missing.difference(heads[match.table]))

    return min(_matches(names, tables), key=distance)


def unknown(match: Match, names: Collection[str], table: Collection[str]) -> list[str]:
    """Returns the file's names, as they stand there, that a table lacks; without buffers."""
    known = {match.prefix + name for name in table}
    return [name for name in names if name not in known and not is_buffer(name)]


def in_body(
    match: Match, names: Collection[str], table: Collection[str], heads: Collection[str]
) -> list[str]:
    """Returns those of the unknown names that lie beside known ones outside heads.

    Such a file is of another network, say a deeper one. Others are of heads that this one has not.

    Args:
      match: of the table.
      names: that the table lacks.
      table: its names.
      heads: those of them that are in heads.
    """
    roles: dict[tuple[str, ...], set[bool]] = {}
    for name in table:
        for beginning in _beginnings(name):
            roles.setdefault(beginning, set()).add(name in heads)
    strange = []
    for name in names:
        if name.startswith(match.prefix):
            shared = [p for p in _beginnings(name.removeprefix(match.prefix)) if p in roles]
            if shared and roles[shared[-1]] == {False}:
                strange.append(name)
    return strange


def _matches(names: Collection[str], tables: Sequence[Collection[str]]) -> Iterator[Match]:
    """Yields every table under every prefix that may be meant."""
    known = dict.fromkeys(names)
    for number, table in enumerate(tables):
        for prefix in _prefixes(known, list(table)):
            missing = frozenset(name for name in table if prefix + name not in known)
            yield Match(number, prefix, missing)


def _prefixes(names: Iterable[str], table: Sequence[str]) -> list[str]:
    """Returns what stands before the table's first, middle or last name in the file; '' first."""
    anchors = {table[i] for i in (0, len(table) // 2, len(table) - 1)} if table else set()
    prefixes = {"": None}
    for name in names:
        for anchor in anchors:
            if name.endswith(f".{anchor}") and len(name) < _LONGEST:
                prefixes[name.removesuffix(anchor)] = None
    return sorted(prefixes, key=lambda prefix: prefix.count("."))[:_MOST_PREFIXES]


def is_buffer(name: str) -> bool:
    """Returns whether a name is of a buffer that trains nothing."""
    return not _BUFFERS.isdisjoint(name.split("."))


def _beginnings(name: str) -> Iterator[tuple[str, ...]]:
    """Yields the first parts of a name, more and more of them; all numbers in them are alike."""
    parts = tuple(_NUMBER.sub("#", part) for part in name[:_LONGEST].split(".")[:_DEEPEST])
    for end in range(1, len(parts) + 1):
        yield parts[:end]
