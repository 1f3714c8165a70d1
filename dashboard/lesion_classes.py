"""The seven diagnoses as the pages name them: code, full name, risk and how to show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dermserve_client.classes import CODES as CODES

Risk = Literal["low", "medium", "high"]


@dataclass(frozen=True)
class LesionClass:
    """One diagnosis of HAM10000."""

    code: str
    name: str
    risk: Risk

    @property
    def label(self) -> str:
        """Name and code, for lists in which one of the two is looked for."""
        return f"{self.name} ({self.code})"


CLASSES: tuple[LesionClass, ...] = (
    LesionClass("akiec", "Actinic keratosis / intraepithelial carcinoma", "medium"),
    LesionClass("bcc", "Basal cell carcinoma", "high"),
    LesionClass("bkl", "Benign keratosis-like lesion", "low"),
    LesionClass("df", "Dermatofibroma", "low"),
    LesionClass("mel", "Melanoma", "high"),
    LesionClass("nv", "Melanocytic nevus", "low"),
    LesionClass("vasc", "Vascular lesion", "low"),
)
NAMES: dict[str, str] = {each.code: each.name for each in CLASSES}

SHORT_NAMES: dict[str, str] = {
    "akiec": "Actinic keratosis",
    "bcc": "Basal cell ca.",
    "bkl": "Benign keratosis",
    "df": "Dermatofibroma",
    "mel": "Melanoma",
    "nv": "Nevus",
    "vasc": "Vascular",
}
"""Where seven names have to stand side by side."""

RISK_SYMBOLS: dict[str, str] = {"low": "○", "medium": "◐", "high": "●"}
"""Risk is told by a symbol and a word; colour only repeats it."""

INK = "#1B2733"
MUTED = "#52606D"
LINE = "#D5DCE3"
ACCENT = "#0B5C7A"
PALE = "#9CC3D5"
ORANGE = "#B3500E"
RISK_COLOURS: dict[str, str] = {"low": "#0B5C7A", "medium": "#7A5200", "high": "#A62B1F"}
"""Each at least 4.5 to 1 on white (WCAG 2.2, 1.4.3)."""

SEQUENCE: tuple[str, ...] = ("#F2F7FA", "#C9DFEA", "#8FBDD3", "#4A90B0", "#0B5C7A", "#063A4F")
"""From little to much, by lightness, so that it also reads without hue."""


def name_of(code: str) -> str:
    """The full name; a code that is none of the seven stands for itself."""
    return NAMES.get(code, code)


def risk_text(level: str) -> str:
    """Risk as a symbol and words: `● High risk`."""
    symbol = RISK_SYMBOLS.get(level)
    return f"{symbol} {level.capitalize()} risk" if symbol else f"{level.capitalize()} risk"
