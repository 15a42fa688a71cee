"""The page of one network and one picture: what it sees there, and what it has learnt."""

import pathlib
import time
from collections.abc import Callable, Sequence

from vision_jax.config import UserError
from vision_jax.report.markup import Page, table, text
from vision_jax.report.network_answer import answer_of
from vision_jax.report.network_parts import PARTS, Settings, Subject
from vision_jax.visualize import fit

DEFAULT = Settings()
_SIDE = 384  # pixels of the picture at the head


def write_network_page(
    folder: pathlib.Path,
    subject: Subject,
    settings: Settings = DEFAULT,
    parts: Sequence[str] = tuple(PARTS),
    label: int | None = None,
    say: Callable[[str], None] = print,
) -> pathlib.Path:
    """Writes `<folder>/index.html`, complete in itself, and its pictures as PNG files.

    Parts that do not fit the network are listed at the end with the reason.

    Args:
      folder: where they go.
      subject: the network and the picture.
      settings: of the parts.
      parts: some of `PARTS`, by name.
      label: the class to explain; None takes the network's own answer.
      say: is given a line about each part when it is done.

    Returns:
      The page's path.
    """
    answer = answer_of(
        subject.network, subject.images, subject.shown, subject.classes, label, subject.multilabel
    )
    page, left_out = Page(folder), []
    facts = [subject.origin, *subject.notes]
    page.add(f"<h1>{text(subject.title)}</h1>")
    page.add(f'<p class="note">{text(" · ".join(fact for fact in facts if fact))}</p>')
    height, width, channels = subject.images.shape[1:]
    caption = f"{answer.text}; the network is fed {height}×{width}×{channels}"
    picture = fit(answer.picture, _SIDE)
    page.add_figure("The picture, and the answer", "picture", picture, answer.text, caption)
    say(f"answer: {answer.text}")
    for name in parts:
        began = time.monotonic()
        try:
            figures = PARTS[name](subject, answer, settings)
        except UserError as error:
            left_out.append((name, str(error)))
            say(f"{name}: left out: {error}")
            continue
        for figure in figures:
            alt = f"{name} of {subject.title}"
            page.add_figure(figure.title, figure.name, figure.image, alt, figure.caption)
        say(f"{name}: {time.monotonic() - began:.0f} s")
    page.add(table("Left out", left_out, ("part", "reason")))
    sizes = [(name, "×".join(map(str, size))) for name, size in subject.maps.items()]
    page.add(table("Feature maps", sizes, ("name", "height × width × channels")))
    return page.write(subject.title)
