"""Numbers as people write them: narrow spaces that do not break, true minus signs, powers of ten."""

from __future__ import annotations

from markupsafe import Markup

SPACE = "\u202f"
MINUS = "\u2212"


def number(value: int) -> str:
    return f"{value:,}".replace(",", SPACE)


def plural(count: int, word: str) -> str:
    return f"{number(count)} {word}" + ("" if count == 1 else "s")


def percent(share: float) -> str:
    return f"{fixed(100 * share, 1 if abs(share) >= 0.01 else 2)}{SPACE}%"


def small(value: float) -> Markup:
    """With a power of ten."""
    digits, _, power = f"{value:.6e}".partition("e")
    factor = "" if float(digits) == 1 else f"{float(digits):g}{SPACE}×{SPACE}"
    return Markup("{}10<sup>{}</sup>").format(factor, fixed(int(power), 0))


def storage(size: float) -> str:
    """A number of bytes."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def fixed(value: float, decimals: int) -> str:
    """With so many decimals; what rounds to zero has no sign."""
    text = f"{value:.{decimals}f}"
    return signed(text.removeprefix("-") if float(text) == 0 else text)


def signed(digits: str) -> str:
    return digits.replace("-", MINUS)
