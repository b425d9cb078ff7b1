"""Curves of a run's metrics over its steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgan.io.files import atomic_write

DISTANCES = ("FD-", "FID")


def save_curves(path: Path, records: list[dict], groups: Sequence[str]) -> None:
    """Draws a panel for each group of metrics, and one for Fréchet distances if there are any.

    Args:
        path: of a PNG file.
        records: metrics by name, each with its "step".
        groups: what stands before the slash in the names of a panel's metrics.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    known = dict.fromkeys(name for record in records for name in record if not name.endswith("_stderr"))
    panels = {group: [name for name in known if name.startswith(f"{group}/")] for group in groups}
    panels["Fréchet distance"] = sorted(name for name in known if name.startswith(DISTANCES))
    panels = {title: names for title, names in panels.items() if names}
    height = 3 * len(panels)
    figure = Figure(figsize=(7, height))
    # In inches, since a layout worked out anew takes most of the time.
    figure.subplots_adjust(0.11, 0.55 / height, 0.97, 1 - 0.35 / height, hspace=0.15)
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, names) in zip(rows, panels.items(), strict=True):
        for name, width in zip(names, (2.4, *[1.2] * len(names)), strict=False):  # lines that coincide are both seen
            points = [(record["step"], record[name]) for record in records if name in record]
            steps, values = np.array(points, float).T  # None becomes NaN: a gap
            axes.plot(steps, values, label=name.split("/")[-1], linewidth=width, marker="." if len(steps) < 3 else "")
        axes.set_title(title.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend()
        if title == "learning_rate":
            axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    with atomic_write(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)
