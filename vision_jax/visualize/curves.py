"""Draws curves, bars and the confusion matrix, by matplotlib without a window system."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.visualize import colors
from vision_jax.visualize.captions import class_caption, drawable

_DPI = 110
_NAMED_CLASSES = 30  # more names than this cannot be read along an axis
_NUMBERED_CLASSES = 15  # nor more numbers than this in the cells
_LONGEST_NAME = 24  # characters of a class, or of a line in a legend; an axis has no room for more
_LONGEST_TITLE = 44
_FORMS = ("o", "^", "s", "D")  # of points, where there are more classes than colours


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str = "step",
    target: tuple[float, str] | None = None,
    log_y: bool = False,
    fractions: bool = False,
    size: tuple[float, float] = (5.2, 3.2),
) -> np.ndarray:
    """Draws lines over one axis.

    Args:
      series: name → (x, y). Points that are not finite are gaps; a short series shows its points.
      title: the text above the axes.
      x_label: the text below them.
      target: a height with its name, drawn as a dashed line.
      log_y: draw a logarithmic axis; every value is then above 0.
      fractions: the values lie in 0..1, which the axis then shows whole; otherwise it fits the
        values, and begins at 0 if they are all the same.
      size: inches at 110 pixels each.

    Returns:
      uint8 (h, w, 3).
    """
    figure, axes = _axes(size, title)
    for number, (name, (x, y)) in enumerate(series.items()):
        style = {"color": colors.fraction(colors.of_class(number)), "lw": 1.6}
        style["label"] = _label(name, _LONGEST_TITLE)
        axes.plot(
            x, np.asarray(y, np.float64), marker="o" if len(x) < 30 else None, ms=3.5, **style
        )
    faint = colors.fraction(colors.FAINT)
    if target is not None:
        axes.axhline(target[0], ls="--", lw=1, color=faint, label=_label(target[1], _LONGEST_TITLE))
    if log_y:
        axes.set_yscale("log")
    elif fractions:
        axes.set_ylim(0, 1.02)
    else:
        _show_constant(axes, [y for _, y in series.values()])
    axes.set_xlabel(_label(x_label, _LONGEST_TITLE))
    if len(series) > 1 or target is not None:
        axes.legend(frameon=False, fontsize=8)
    return _render(figure)


def bars(
    names: Sequence[str],
    means: Sequence[float],
    spreads: Sequence[float],
    title: str,
    size: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draws a dot with a ± whisker per name, one below the other; uint8 (h, w, 3).

    Args:
      names: the texts left of them.
      means, spreads: (n,); a spread that is not finite draws no whisker.
      title: the text above the axes.
      size: inches; default grows with n.
    """
    figure, axes = _axes(size or (6.4, 1.2 + 0.32 * len(names)), title)
    x, whiskers = np.asarray(means, np.float64), np.asarray(spreads, np.float64)
    rows = np.arange(len(names))[::-1]
    color = colors.fraction(colors.SERIES[0])
    axes.plot(x, rows, "o", ms=5, color=color)
    known = np.isfinite(whiskers)
    axes.errorbar(x[known], rows[known], xerr=whiskers[known], fmt="none", capsize=3, color=color)
    axes.set_yticks(rows, [_label(name, _LONGEST_TITLE) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    return _render(figure)


def bubbles(
    names: Sequence[str],
    across: Sequence[float],
    up: Sequence[float],
    area: Sequence[float],
    labels: tuple[str, str, str],
    size: tuple[float, float] = (7.2, 4.8),
) -> np.ndarray:
    """Draws named circles at (across, up), across on a logarithmic scale; uint8 (h, w, 3).

    Args:
      names: the texts in the circles.
      across: (n,) above 0.
      up: (n,).
      area: (n,), in proportion to which the circles' areas are.
      labels: the names of the three quantities.
      size: inches.
    """
    figure, axes = _axes(size, f"{labels[1]} against {labels[0]}; area: {labels[2]}")
    sizes = 1200 * np.asarray(area, np.float64) / np.max(area)
    color = colors.fraction(colors.SERIES[0])
    axes.scatter(across, up, s=sizes, color=color, alpha=0.4, lw=0.8)
    for name, x, y in zip(names, across, up, strict=True):
        axes.annotate(_label(name), (x, y), ha="center", va="center", fontsize=7)
    _log_with_numbers(axes, max(across) / min(across))
    axes.margins(0.18)
    axes.set_xlabel(_label(labels[0], _LONGEST_TITLE), fontsize=8)
    axes.set_ylabel(_label(labels[1], _LONGEST_TITLE), fontsize=8)
    return _render(figure)


def scatter(
    points: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    title: str,
    size: tuple[float, float] = (7.2, 5.4),
) -> np.ndarray:
    """Draws points in the plane, a colour and a form for each class; uint8 (h, w, 3).

    Args:
      points: (n, 2); the axes have no numbers.
      labels: (n,) class numbers.
      names: the classes' names; numbers where it is empty.
      title: the text above the axes.
      size: inches.
    """
    figure, axes = _axes(size, title)
    labels = np.asarray(labels)
    for number, label in enumerate(np.unique(labels)):
        row = points[labels == label]
        form = _FORMS[number // len(colors.SERIES) % len(_FORMS)]
        color = colors.fraction(colors.of_class(number))
        name = _label(class_caption(int(label), names))
        axes.scatter(row[:, 0], row[:, 1], s=26, marker=form, color=color, alpha=0.75, label=name)
    axes.set_xticks([]), axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _render(figure)


def confusion(matrix: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Draws a confusion matrix, each row shaded by its share; uint8 (h, w, 3).

    Args:
      matrix: (c, c) counts; rows are true classes, columns predicted ones.
      names: the classes' names. They are written up to 30 classes, counts up to 15.
    """
    matrix = np.asarray(matrix)
    c = len(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(9.0, max(3.6, 2.2 + 0.42 * c))
    figure, axes = _axes((side, side), "Confusion (rows: truth, columns: prediction)")
    axes.grid(False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if c <= _NAMED_CLASSES:
        labels = [_label(class_caption(i, names)) for i in range(c)]
        axes.set_xticks(range(c), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
        axes.set_yticks(range(c), labels)
    if c <= _NUMBERED_CLASSES:
        for row, column in np.argwhere(matrix):
            color = "white" if share[row, column] > 0.5 else colors.fraction(colors.INK)
            count = f"{matrix[row, column]:.0f}"
            axes.text(column, row, count, ha="center", va="center", fontsize=8, color=color)
    return _render(figure)


def _label(text: str, longest: int = _LONGEST_NAME) -> str:
    """Returns a text as matplotlib draws it letter by letter: no formula, never left out."""
    line = drawable(text, longest).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line  # legends leave such names out


def _show_constant(axes: Any, values: Sequence[Sequence[float]]) -> None:
    """Begins the axis at 0 where all values are one, whose surroundings would say nothing."""
    known = np.concatenate([np.asarray(y, np.float64) for y in values] or [np.zeros(0)])
    known = known[np.isfinite(known)]
    if known.size and known.min() == known.max() != 0:
        axes.set_ylim(*sorted((0, 1.5 * known[0])))


def _log_with_numbers(axes: Any, ratio: float) -> None:
    """Makes the x axis logarithmic, its ticks written out, fewer if its ends' ratio is large.

    They are at 1, 2, 3, …, at 1, 2, 5, 10, … or at 1, 10, ….
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    first = range(1, 10) if ratio < 5 else (1, 2, 5) if ratio < 1000 else (1,)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=first))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written_out(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def written_out(value: float) -> str:
    """Formats a number for an axis: 0.5, 20, 1,000, 300,000, 2 M, 5 G."""
    for unit, name in ((1e9, " G"), (1e6, " M")):
        if value >= unit:
            return f"{value / unit:,g}{name}"
    return f"{value:,g}"


def _axes(size: tuple[float, float], title: str) -> tuple[Any, Any]:
    """Returns an empty figure, and its axes."""
    # The object interface and not pyplot: no global state, no window system, any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ink = colors.fraction(colors.INK)
    axes.set_title(_label(title, _LONGEST_TITLE), fontsize=10, loc="left", color=ink)
    axes.grid(True, lw=0.5, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=ink)
    return figure, axes


def _render(figure: Any) -> np.ndarray:
    """Returns the figure's pixels, uint8 (h, w, 3)."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
