"""Numbers as people read them; None and non-finite values become a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DASH = "–"
_MINUS = "\N{MINUS SIGN}"
_TOLD, _DOUBT = 0.0001, 0.01  # p-values are not told apart below the first, nor above one less the second
_NBSP = "\N{NO-BREAK SPACE}"


def finite(value: Any) -> float | None:
    """The value as a float, or None where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def number(value: Any) -> str:
    """Three significant digits; whole numbers and thousands are written out."""
    known = finite(value)
    if known is None:
        return DASH
    if isinstance(value, int) or abs(known) >= 1000:
        text = f"{known:,.0f}"
    elif known == 0:
        text = "0"
    elif abs(known) < 1e-4:
        text = f"{known:.1e}"
    else:
        text = f"{known:.{max(0, 2 - math.floor(math.log10(abs(known))))}f}"
    return text.replace("-", _MINUS)


def percent(share: Any) -> str:
    """A share of one as per cent, without a sign."""
    known = finite(share)
    return DASH if known is None else f"{known * 100:.0f}{_NBSP}%"


def per_cent(share: float) -> str:
    """A share as per cent, with a decimal below ten."""
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def probability(value: float) -> str:
    """A p-value at two digits, or on which side of what is worth telling it lies."""
    if value < _TOLD:
        return f"< {_TOLD}"
    return f"> {1 - _DOUBT:g}" if value > 1 - _DOUBT else f"{value:.2g}"


def share(value: Any) -> str:
    """A share of one as per cent with a decimal, as accuracies are told."""
    known = finite(value)
    return DASH if known is None else f"{known * 100:.1f}{_NBSP}%"


def points(share: Any) -> str:
    """A difference of shares, signed, in per cent of all; a decimal appears below ten."""
    known = finite(share)
    if known is None:
        return DASH
    text = f"{known * 100:+.0f}" if abs(known) >= 0.1 else f"{known * 100:+.1f}"
    return f"{'0' if float(text) == 0 else text.replace('-', _MINUS)}{_NBSP}%"


def signed_number(value: Any) -> str:
    """`number` with a sign."""
    known = finite(value)
    return f"+{number(value)}" if known is not None and known > 0 else number(value)


def change(ratio: Any) -> str:
    """A ratio as a signed change: 0.81 becomes −19 %; a decimal appears where whole per cents would hide the change."""
    known = finite(ratio)
    if known is None:
        return DASH
    value = (known - 1) * 100
    text = f"{value:+.1f}" if abs(value) < 2 else f"{value:+.0f}"
    if float(text) == 0:
        text = "0"
    return f"{text.replace('-', _MINUS)}{_NBSP}%"


def times(factor: Any) -> str:
    """A factor: ×1.15."""
    known = finite(factor)
    return DASH if known is None else f"×{known:.2f}"


def bounds(estimate: Mapping[str, Any] | None, offset: float = 0.0) -> tuple[float, float] | None:
    """Lower and upper end of an estimate's interval, less `offset`, or None where there is no interval."""
    low, high = (finite((estimate or {}).get(key)) for key in ("low", "high"))
    return None if low is None or high is None else (low - offset, high - offset)
