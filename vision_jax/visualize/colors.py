"""The colours that every picture shares, RGB in 0..255."""

INK = (31, 41, 55)
FAINT = (148, 156, 168)
PAPER = (255, 255, 255)
RIGHT = (21, 128, 61)
WRONG = (185, 28, 28)

# Told apart by people with colour-blindness too: Okabe and Ito, Color Universal Design, 2008.
SERIES = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (0, 0, 0),
)


def of_class(label: int) -> tuple[int, int, int]:
    """Returns a class number's colour, the same in every picture; they repeat after seven."""
    return SERIES[label % len(SERIES)]


def fraction(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Converts a colour to matplotlib's range 0..1."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255
