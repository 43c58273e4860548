"""Formats numbers for readers: a true minus sign, and no sign for numbers that round to 0."""

from __future__ import annotations

import math

import pandas as pd

_UNITS = (("MB", 1e6), ("kB", 1e3))


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, unless it rounds to 0."""
    rounded = round(value, digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{rounded:.{digits}f}"


def three_digits(value: float) -> str:
    """Three significant digits, or all digits before the decimal point."""
    text = f"{value:,.0f}" if 999.5 <= abs(value) < 1e6 else f"{value + 0.0:#.3g}".rstrip(".")
    return text.replace("-", "−", 1) if value < 0 else text


def plain(value: float) -> str:
    """A number of any size: its integer part with thousands separators, or three digits; empty for NaN."""
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if 999.5 <= abs(value) < math.inf else f"{value + 0.0:.3g}".replace("inf", "never")


def with_interval(mean: float, low: float, high: float, signs: bool = False, ratio: bool = False) -> str:
    """``mean [low, high]`` in three digits, or in two decimals with ``signs`` for percentage points; only the mean if
    there is no interval; empty for NaN. A ``ratio`` begins with ×.
    """
    if pd.isna(mean):
        return ""
    texts = [signed(value) if signs else three_digits(value) for value in (mean, low, high)]
    text = texts[0] if pd.isna(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"
    return f"× {text}" if ratio else text


def size(count: float) -> str:
    """A number of bytes in the largest unit that it reaches."""
    for unit, factor in _UNITS:
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def counted(number: float, noun: str) -> str:
    """A number with its noun: 1 seed, 1,000 seeds."""
    return f"{number:,.0f} {noun}" if number == 1 else f"{number:,.0f} {noun}s"
