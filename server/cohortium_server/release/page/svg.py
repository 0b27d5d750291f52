"""SVG elements, whose every text and attribute is escaped."""

from __future__ import annotations

from markupsafe import Markup


def element(tag: str, *inside: str, **attributes: str | float) -> Markup:
    """<tag attribute="...">inside</tag>; an underscore at a name's end is dropped, others become dashes."""
    written = [
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _coordinate(value))
        for name, value in attributes.items()
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(tag, Markup("").join(written), Markup("").join(inside))


def picture(width: float, height: float, words: str, *inside: str, class_: str = "fit") -> Markup:
    """A whole drawing; ``words`` describe it to those who cannot see it."""
    box = f"0 0 {_coordinate(width)} {_coordinate(height)}"
    size = {"width": width, "height": height}
    return element("svg", *inside, role="img", aria_label=words, class_=class_, viewBox=box, **size)


def text(words: str, x: float, y: float, class_: str, most: int = 1000, **attributes: str | float) -> Markup:
    """A text; what is longer than ``most`` characters is cut, and shown in full on hover."""
    if len(words) <= most:
        return element("text", words, x=x, y=y, class_=class_, **attributes)
    shown = words[: most - 1].rstrip() + "…"
    return element("text", shown, element("title", words), x=x, y=y, class_=class_, **attributes)


def turned(words: str, x: float, y: float, degrees: int, class_: str, most: int) -> Markup:
    """A text that begins, or ends, at a point and is turned round it."""
    return text(words, 0, 0, class_, most, transform=f"translate({x:.2f} {y:.2f}) rotate({degrees})")


def tile(x: float, y: float, width: float, height: float, *inside: str, class_: str, strength: float = 1.0) -> Markup:
    """A rectangle with a narrow gap round it; the stronger the less one sees through it."""
    place = {"x": x + 0.4, "y": y + 0.4, "width": width - 0.8, "height": height - 0.8}
    return element("rect", *inside, class_=class_, fill_opacity=min(1.0, strength), **place)


def _coordinate(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
