"""The README's table, generated from the result files."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def write(readme: pathlib.Path) -> None:
    """Puts the tables of all machines between the markers of a README.

    Raises:
      ValueError: the markers are not there, or there are no results.
    """
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme.name} lacks the lines {BEGIN} and {END}; put them where it goes")
    files = sorted(RESULTS.glob("*.json"))
    if not files:
        raise ValueError("no results yet; run python -m benchmarks first")
    tables = "\n\n".join(render(json.loads(file.read_text())) for file in files)
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


def render(results: Mapping[str, Any]) -> str:
    """One machine's table as Markdown."""
    machine = results["machine"]
    what = ", ".join(filter(None, (machine["accelerator"], machine["processor"])))
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"**{what}**, {machine['cores']} cores, {machine['memory_GB']} GB;"
        f" Python {machine['python']}, {packages}.",
        f"`{results['command']}`",
        "",
        "| work | ours | peer | ratio | bar |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, entry in results["entries"].items():
        lines += _rows(name, entry)
    lines += [
        "",
        "Rates are of the median round; the ratio is ours over the peer's, above 1 is faster: of"
        " median rounds, and in brackets of the fastest ones.",
    ]
    return "\n".join(lines)


def _rows(name: str, entry: Mapping[str, Any]) -> list[str]:
    ours = rate(entry["variants"]["ours"], entry)
    bar = "" if entry["bar"] is None else f"{entry['bar']:g}"
    rows = []
    for peer, ratio in entry["ratios"].items():
        theirs = f"{rate(entry['variants'][peer], entry)} ({peer})"
        ratios = f"{ratio['median']:.2f} ({ratio['best']:.2f})"
        rows.append(f"| {name} | {ours} | {theirs} | {ratios} | {bar} |")
        name, ours, bar = "", "", ""  # further peers stand below the first
    return rows or [f"| {name} | {ours} | – | – | {bar} |"]


def rate(variant: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """'812 images/s', 'images/cpu-s' on the processor's clock, or seconds per run.

    Behind it temporaries, or shares of what the GPU could do, where they are known.
    """
    if entry["unit"] == "runs":
        return f"{1 / variant['median_rate']:.1f} s"
    number = variant["median_rate"]
    text = f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
    text = f"{text} {entry['unit']}/{'cpu-s' if entry['clock'] == 'cpu' else 's'}"
    if "temp_bytes" in variant:
        text += f", {variant['temp_bytes'] / 1e6:,.0f} MB of temporaries"
    if "mfu" in variant:
        text += f", {variant['mfu']:.1%} MFU, {variant['bandwidth']:.1%} of bandwidth"
    return text
