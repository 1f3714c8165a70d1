"""The style of figures: colours, axes and titles, set on each figure and never globally."""

from __future__ import annotations

import io
import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.measures import Values

INK, GREY, PALE = "#1f2933", "#616e7c", "#e4e7eb"
BLUE, ORANGE = "#2166ac", "#b84a12"

# After Paul Tol's muted scheme, safe for colour-blind readers: malignant classes warm, benign
# ones cool.
COLOURS = {
    "malignant": "#000000",
    "mel": "#882255",
    "bcc": "#CC6677",
    "akiec": "#C9A227",
    "bkl": "#55AEDD",
    "df": "#117733",
    "nv": "#332288",
    "vasc": "#44AA99",
}
DASHES = {"bcc": "--", "akiec": "-.", "bkl": "--", "df": "-.", "vasc": ":"}

UNDEFINED = "\N{EN DASH}"

_WIDTH_INCHES = 8.0
DPI = 180
_TITLE_CHARACTERS = 72


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """Render a figure; by default 1,440 pixels wide: sharp at 800 on dense screens and in print."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def new_figure(height_inches: float, title: str) -> Figure:
    """An empty figure under its title, a sentence without a full stop."""
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr,call-arg]
    lines = math.ceil(len(title) / _TITLE_CHARACTERS)
    wrapped = textwrap.fill(title, len(title) // lines + 9)  # lines of about the same length
    # At the figure's edge: over the axes alone, long tick labels would leave it little room.
    figure.suptitle(wrapped, x=0.015, ha="left", weight="bold", size=13, color=INK)
    return figure


def plain(axes: Axes) -> None:
    """Take from axes what carries no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, length=3, labelsize=10)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def heatmap(axes: Axes, values: Values) -> None:
    """Shade cells by values in 0..1; NaN stays white.

    Args:
        axes: to draw in, column names to be on top.
        values: float, shape (rows, columns).
    """
    plain(axes)
    axes.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=1.05)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.spines[:].set_visible(False)


def cell(axes: Axes, row: int, column: int, value: float, texts: tuple[str, str]) -> None:
    """Write a large and a small text into a cell of a heat map, to be read on its shade."""
    colour = "white" if value > 0.55 else INK if value > 0 else GREY
    for text, offset, size in zip(texts, (-0.1, 0.25), (10.5, 8.5), strict=True):
        axes.text(column, row + offset, text, ha="center", va="center", color=colour, fontsize=size)


def spread(positions: list[float], gap: float) -> list[float]:
    """Move labels up so that they keep a gap, in their order.

    Args:
        positions: in any order, in one unit with `gap`.
        gap: least distance.
    """
    moved = list(positions)
    previous = -np.inf
    for index in np.argsort(positions):
        moved[index] = previous = max(positions[index], previous + gap)
    return moved
