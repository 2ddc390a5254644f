"""SVG elements as escaped text."""

from __future__ import annotations

from markupsafe import Markup, escape

Child = Markup | str
Value = str | int | float


def element(tag: str, *children: Child, **attributes: Value | None) -> Markup:
    """Return an element; text among the children is escaped, and so are the attributes.

    Args:
        tag: the element's name.
        children: elements made here, or text.
        attributes: with ``_`` for ``-``, and a last ``_`` for names that Python reserves;
            numbers get two decimals at most, and those that are ``None`` are left out.

    >>> str(element("text", "<b>", text_anchor="end", class_="tick", x=1.50, y=None))
    '<text text-anchor="end" class="tick" x="1.5">&lt;b&gt;</text>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(children)
    return Markup(f"<{tag}{written}>{inside}</{tag}>") if inside else Markup(f"<{tag}{written}/>")


def percent(share: float) -> str:
    """Return a share of the plot's width as a length, at most two decimals.

    >>> percent(0.3333), percent(1)
    ('33.33%', '100%')
    """
    return f"{_text(100 * share)}%"


def plot(*children: Child, height: float, label: str, class_: str = "plot") -> Markup:
    """Return a plot as wide as its place: lengths across are in percent, those down in pixels.

    Text keeps its size on a phone and on paper, as nothing is scaled. What lies left of 0 % and
    below ``height`` falls in the margins that the page gives to the class.
    """
    return element(
        "svg", *children, class_=class_, width="100%", height=height, role="img", aria_label=label
    )


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
