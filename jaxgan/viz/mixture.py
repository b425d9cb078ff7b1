"""Pictures of the toy worlds: uint8 [height, width, 3], for `images.save_png`.

All pictures of a world that one function draws have the same size, limits and places, whatever the samples: a series of
them can be animated.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, UInt8

from jaxgan.data.gaussian_mixtures import GaussianMixture
from jaxgan.metrics.mixtures import RADIUS, kernel_density, optimal_discriminator, silverman

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
# All in pixels:
SIDE = 560  # of a scatter
WIDTH, HEIGHT = 640, 440  # of densities, and the width of a population
HEADER, LEGEND = 34, 24  # above and below all axes
GAP, PANEL_TITLE = 8, 18  # beside a population's panels, and more above each
MOST_PANELS = 12
GRID = 512  # points at which densities are drawn
# The colours of Okabe and Ito, which most people can tell apart: orange, blue, black.
REAL, GENERATED, DISCRIMINATOR = "#e69f00", "#0072b2", "#000000"
MARGIN = 0.2  # of the extent of the means
MARGIN_STDDEVS = 5  # at least
FAINTEST = 0.02  # of the real density's peak: where both densities are less, their ratio tells of a sample or two

Picture = UInt8[np.ndarray, "height width 3"]


def limits(world: GaussianMixture) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """The lowest and the highest coordinates of a picture: a margin around the modes and the origin.

    An untrained generator, which knows nothing of the means, begins near the origin.
    """
    points = np.concatenate([world.means, np.zeros((1, world.dim))])
    low, high = points.min(0), points.max(0)
    margin = max(MARGIN * (high - low).max(), MARGIN_STDDEVS * world.stddev)
    return low - margin, high + margin


def inside(world: GaussianMixture, samples: Float[np.ndarray, "*members n dim"]) -> np.ndarray:
    """Which samples a picture shows: bool [*members, n]. One that is not finite is not shown."""
    low, high = limits(world)
    return ((low <= samples) & (samples <= high)).all(-1)


def outside(shown: np.ndarray) -> str:
    """What a picture says of the samples that it does not show: nothing if there are none."""
    count = int((~shown).sum())
    return f"{count:,} outside" if count else ""


def grid(world: GaussianMixture) -> Float32[np.ndarray, "points 1"]:
    """The points of a line at which `densities` expects a discriminator's outputs."""
    (low,), (high,) = limits(world)
    return np.linspace(low, high, GRID, dtype=np.float32)[:, None]


def scatter(world: GaussianMixture, samples: Float[np.ndarray, "n 2"], title: str) -> Picture:
    """Samples as dots, and the modes of the world as circles of three standard deviations."""
    figure = _figure(SIDE, SIDE + LEGEND)
    axes = _axes(figure, left=48, top=HEADER, width=SIDE - 64, height=SIDE - 64)
    _draw_cloud(axes, world, samples, size=4)
    axes.set_title(title, loc="left", fontsize=11)
    _legend(figure, axes)
    return _render(figure)


def population(world: GaussianMixture, samples: Float[np.ndarray, "members n dim"], title: str) -> Picture:
    """One panel for each member, 12 at most: its samples as dots, or their density in a world on a line."""
    shown = min(len(samples), MOST_PANELS)
    columns = int(np.ceil(np.sqrt(shown)))
    rows = -(-shown // columns)
    side = (WIDTH - GAP) // columns - GAP
    pitch = side + GAP + PANEL_TITLE
    figure = _figure(WIDTH, HEADER + rows * pitch + LEGEND)
    for member in range(shown):
        row, column = divmod(member, columns)
        left, top = GAP + column * (side + GAP), HEADER + row * pitch + PANEL_TITLE
        axes = _axes(figure, left, top, side, side)
        if world.dim == 2:
            _draw_cloud(axes, world, samples[member], size=4 if columns < 3 else 1)
        else:
            _draw_densities(axes, world, samples[member, :, 0])
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"member {member}", loc="left", fontsize=8, pad=3)
    _legend(figure, axes)
    more = f" (the first {shown} of {len(samples)} members)" if shown < len(samples) else ""
    figure.text(GAP / WIDTH, 1 - HEADER / 2 / (figure.get_figheight() * DPI), title + more, va="center", fontsize=11)
    return _render(figure)


def densities(
    world: GaussianMixture,
    samples: Float[np.ndarray, " n"] | Float[np.ndarray, "n 1"],
    outputs: Float[np.ndarray, " points"] | None,
    title: str,
) -> Picture:
    """A world on a line: the densities of the real and of the generated, and what the discriminator makes of them.

    The optimum is left out where both densities are next to nothing.

    Args:
        samples: of the generator; drawn is a kernel estimate of their density.
        outputs: sigmoid(D(x)) at the points of `grid`, or None for a discriminator that gives no probabilities.
    """
    figure = _figure(WIDTH, HEIGHT)
    axes = _axes(figure, left=56, top=HEADER, width=WIDTH - 120, height=HEIGHT - HEADER - 96)
    real, generated = _draw_densities(axes, world, samples.reshape(-1))
    axes.set(xlabel="x", ylabel="density")
    axes.set_title(title, loc="left", fontsize=11)
    drawn = [axes]
    if outputs is not None:
        right = axes.twinx()
        drawn.append(right)
        optimal = np.asarray(optimal_discriminator(real, generated), np.float64)
        optimal[np.maximum(real, generated) < FAINTEST * real.max()] = np.nan
        points = grid(world)[:, 0]
        right.axhline(0.5, color=DISCRIMINATOR, alpha=0.4, linewidth=0.8, linestyle="--")
        right.plot(points, outputs, color=DISCRIMINATOR, linewidth=1.2, label="discriminator, sigmoid(D(x))")
        right.plot(points, optimal, color=DISCRIMINATOR, linewidth=1.4, linestyle=":", label="optimal, p / (p + q)")
        right.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1], ylabel="probability of being real")
    _legend(figure, *drawn)
    return _render(figure)


def _draw_cloud(axes: "Axes", world: GaussianMixture, samples: Float[np.ndarray, "n 2"], size: int) -> None:
    """Samples and modes in the plane; `size` is the area of a dot in square points: 4, or less in small axes."""
    from matplotlib.collections import EllipseCollection  # noqa: PLC0415  (slow to import)

    shown = inside(world, samples)
    axes.scatter(*samples[shown].T, s=size, color=GENERATED, alpha=0.4, linewidths=0)
    diameters = np.full(world.modes, 2 * RADIUS * world.stddev)
    # Beneath the dots they are faint areas, above them thin lines: dots may fill them or leave them empty.
    for layer, colours in (1, {"facecolor": REAL + "40"}), (3, {"facecolor": "none", "edgecolor": REAL}):
        circles = EllipseCollection(
            diameters, diameters, 0 * diameters, units="xy", offsets=world.means, offset_transform=axes.transData
        )
        circles.set(zorder=layer, linewidth=0.4 + 0.15 * size, **colours)
        axes.add_collection(circles, autolim=False)
    axes.plot([], [], "o", markerfacecolor=REAL + "40", markeredgecolor=REAL, label="real: 3 standard deviations")
    axes.plot([], [], "o", markersize=3, color=GENERATED, label="generated")
    low, high = limits(world)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    _note(axes, outside(shown))


def _draw_densities(
    axes: "Axes", world: GaussianMixture, samples: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The true density and an estimate of the samples' one, which are returned."""
    points = grid(world)
    real = world.density(points)
    generated = np.asarray(kernel_density(samples, points[:, 0], silverman(world.stddev, len(samples))), np.float64)
    axes.fill_between(points[:, 0], real, color=REAL, alpha=0.4, linewidth=0, label="real, density p")
    axes.plot(points[:, 0], generated, color=GENERATED, linewidth=1.6, label="generated, density q")
    top = 1.6 * real.max()  # of a spike higher than that the feet are seen
    axes.set(xlim=(points[0, 0], points[-1, 0]), ylim=(-0.03 * top, 1.03 * top))
    _note(axes, outside(inside(world, samples[:, None])))
    return real, generated


def _note(axes: "Axes", text: str) -> None:
    """A small text above the right corner, where it hides nothing."""
    axes.set_title(text, loc="right", fontsize=7.5, pad=3)


def _legend(figure: "Figure", *drawn: "Axes") -> None:
    """What the colours of some axes mean, at the bottom of a figure."""
    found = [axes.get_legend_handles_labels() for axes in drawn]
    handles, labels = ([entry for entries in side for entry in entries] for side in zip(*found, strict=True))
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False, fontsize=9, borderaxespad=0.2)


def _figure(width: int, height: int) -> "Figure":
    """An empty figure of a size in pixels."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (slow to import)

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def _axes(figure: "Figure", left: int, top: int, width: int, height: int) -> "Axes":
    """Axes at a place in pixels, which no text in the figure moves."""
    across, down = figure.get_size_inches() * DPI
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def _render(figure: "Figure") -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def clouds(arrays: Mapping[str, Float[np.ndarray, "n dim"]], title: str) -> Picture:
    """Several sets of points, each in a colour of its own: their first two coordinates, or one against its index."""
    figure = _figure(SIDE, SIDE + LEGEND)
    axes = _axes(figure, left=48, top=HEADER, width=SIDE - 64, height=SIDE - 64)
    for name, points in arrays.items():
        across = points[:, 0] if points.shape[1] > 1 else np.arange(len(points))
        axes.scatter(across, points[:, min(1, points.shape[1] - 1)], s=12, alpha=0.6, linewidths=0, label=name)
    axes.set_title(title, loc="left", fontsize=11)
    _legend(figure, axes)
    return _render(figure)
