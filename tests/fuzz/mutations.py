"""Damage: from valid bytes, JSON and archives, each a function of a random generator."""

import io
import json
import random
import struct
import warnings
import zipfile

NUMBERS = (0, 1, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
VALUES = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e300, -1e300, 10**30, 10**400, 2**63, 2**64),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "0", "1", "-5", "nan", "é" * 3, "😀"),
    *("\n\x1b[31mred", "\x00", "a" * 5000, "../../x", "/etc/passwd", "\ud83d", "\u202egnp.exe"),
    *([], [[]], [1], [1, 2, 3], [None], [[1, 2], [3, 4]], [[[]]], [1e300] * 8, [0] * 5000),
    *({}, {"a": 1}, {"size": [48, 64], "counts": "abc"}, {"counts": [1]}, {"x": {"x": {}}}),
)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Returns bytes with one to four places damaged: flipped, cut, put in, doubled, lengthened."""
    damaged_bytes = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_DAMAGES)(rng, damaged_bytes)
    return bytes(damaged_bytes)


def _flip(rng, content):
    for _ in range(rng.choice((1, 1, 1, 8))):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(rng, content):
    if content:
        del content[rng.randrange(len(content)) :]


def _remove(rng, content):
    start = rng.randrange(len(content) + 1)
    del content[start : start + rng.randint(1, 20)]


def _insert(rng, content):
    start = rng.randrange(len(content) + 1)
    content[start:start] = rng.randbytes(rng.randint(1, 8))


def _double(rng, content):
    start = rng.randrange(len(content) + 1)
    content[start:start] = content[start : start + rng.randint(1, 60)]


def _length(rng, content):
    """Writes an extreme number where one of four or eight bytes may be."""
    size = rng.choice((1, 2, 4, 8))
    if len(content) >= size:
        start = rng.randrange(len(content) - size + 1)
        number = rng.choice(NUMBERS) % 256**size
        content[start : start + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _swap(rng, content):
    """Exchanges the places of two parts."""
    if len(content) > 8:
        middle = rng.randrange(len(content))
        content[:] = content[middle:] + content[:middle]


def _digits(rng, content):
    """Writes a long or odd number in place of a digit, for formats of text."""
    places = [i for i, byte in enumerate(content) if 48 <= byte < 58]
    if places:
        place = rng.choice(places)
        odd = (b"-1", b"1e999", b"nan", b"9" * 400, b"0x7f", b"1_0", b"", b"\xd9\xa3", b"1,5")
        content[place : place + 1] = rng.choice(odd)


_DAMAGES = (_flip, _flip, _cut, _remove, _insert, _double, _length, _length, _swap, _digits)


def json_text(rng: random.Random, tree: object) -> bytes:
    """Returns JSON of a tree with one or two places changed, and now and then damaged text."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.randint(1, 2)):
        tree = _changed(rng, tree)
    try:
        text = json.dumps(tree, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        text = b"[" * 100_000
    kind = rng.random()
    if kind < 0.06:
        return b'{"a":' * 50_000 + text
    if kind < 0.1:
        return rng.choice(
            (b"\xef\xbb\xbf" + text, text.decode("utf-8", "replace").encode("utf-16"))
        )
    if kind < 0.14:
        return text.replace(b'": ', b'": ' + b"9" * 5000, 1)
    return damaged(rng, text) if kind < 0.3 else text


def _changed(rng, tree):
    places = list(_places(tree))
    path = rng.choice(places)
    if not path:
        return rng.choice(VALUES)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    change = rng.random()
    if change < 0.6:
        parent[path[-1]] = rng.choice(VALUES)
    elif change < 0.75:
        del parent[path[-1]]
    elif change < 0.85:
        parent[path[-1]] = [parent[path[-1]]]
    elif isinstance(parent, dict):
        parent[rng.choice(("", "x", "id", "\n", "0"))] = parent.pop(path[-1])
    else:
        parent.extend([parent[path[-1]]] * rng.choice((1, 3, 1000)))
    return tree


def _places(tree, path=()):
    yield path
    items = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree[:50])
    for key, value in items:
        yield from _places(value, (*path, key))


def archive(rng: random.Random, content: bytes) -> bytes:
    """Returns a zip archive with odd members, or with a member damaged and packed again."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    number = rng.randrange(len(members))
    name, value = members[number]
    trick = rng.randrange(9)
    if trick == 0:
        members[number] = (rng.choice(("../../x", "/x", "a\\b", "\n", "x" * 60_000, "")), value)
    elif trick == 1:
        members.append((name, damaged(rng, value)))
    elif trick == 2:
        del members[number]
    elif trick == 3:
        members[number] = (name, b"")
    elif trick == 4:
        members[number] = (name, bytes(rng.choice((2**20, 2**26))))
    elif trick == 5:
        members += [(f"a/{i}", b"") for i in range(3000)]
    else:
        members[number] = (name, damaged(rng, value))
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as new:
        warnings.simplefilter("ignore")  # about names that are there twice
        for name, value in members:
            new.writestr(name or zipfile.ZipInfo(name), value)
    packed = bytearray(buffer.getvalue())
    if trick == 6:
        _stated_size(rng, packed)
    return damaged(rng, bytes(packed)) if trick == 7 else bytes(packed)


def _stated_size(rng, packed):
    """Changes a size, a method or a flag that an archive's directory states."""
    place = packed.find(b"PK\x01\x02")
    offset, kind = rng.choice(((8, "<H"), (10, "<H"), (20, "<I"), (24, "<I"), (42, "<I")))
    number = rng.choice(NUMBERS) % (2**16 if kind == "<H" else 2**32)
    struct.pack_into(kind, packed, place + offset, number)
