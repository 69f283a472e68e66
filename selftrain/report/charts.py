"""Charts as SVG inside a page: no script, no colors of their own (the page's style has them), all texts escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDTH = 360  # of a chart, in pixels: that of a telephone, so that letters are as large as those around it
_POINTS = 160  # of a curve; longer ones are means of stretches
Number = float | None


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Args:
        name: In the legend.
        points: Pairs of step and value, by step.
        style: Number of its color, from 0; -1: gray, of what others are compared with.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int


@dataclass(frozen=True)
class Estimate:
    """A share and its interval, all in one unit; ``low`` and ``high`` may be unknown."""

    name: str
    value: float
    low: Number = None
    high: Number = None
    reference: bool = False


def tag(name: str, *inside: Any, **attributes: Any) -> Markup:
    """An element; attributes lose a last underscore and have hyphens for the others; numbers are rounded."""
    texts = [
        f' {key.rstrip("_").replace("_", "-")}="{f"{value:.4g}" if isinstance(value, float) else escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    # names are this module's, what comes from data is escaped
    return Markup(f"<{name}{''.join(texts)}>{''.join(map(str, map(escape, inside)))}</{name}>")  # nosec B704


def picture(width: float, height: float, parts: Sequence[Markup], label: str, kind: str) -> Markup:
    """An ``svg`` of this size that is never wider than its place; ``label`` is what a screen reader says."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *parts, viewBox=box, width=width, role="img", aria_label=label, class_=f"chart {kind}")


def percent(value: Number, digits: int = 1) -> str:
    """A share as text."""
    return (
        "\N{EN DASH}" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` + 1 round numbers that lie evenly in a range."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [step * (first + i) for i in range(math.floor(high / step + 1e-9) - first + 1)]


def _percents(values: Sequence[float]) -> list[str]:
    """Ticks in percent, with as many digits as tell them apart."""
    return [percent(value, 0 if all(abs(100 * v - round(100 * v)) < 1e-6 for v in values) else 1) for value in values]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return tag("text", text, x=float(x), y=float(y), class_=kind)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=kind)


# -- curves ------------------------------------------------------------------------------------------------------------
def curves(title: str, found: Sequence[Curve], *, shares: bool, height: float = 200) -> Markup:
    """Lines over steps with a legend below; ``shares``: the axis is in percent and ends at 0 and 100 at most."""
    found = [curve for curve in found if curve.points]
    left, right, top, bottom = 44.0, 12.0, 8.0, 22.0
    values = [value for curve in found for _, value in curve.points]
    low, high, last = min(values), max(values), max(1.0, *(step for curve in found for step, _ in curve.points))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - margin, high + margin
    if shares:
        low, high = max(0.0, low), min(1.0, high)

    def x(step: float) -> float:
        return left + (WIDTH - left - right) * step / last

    def y(value: float) -> float:
        return top + (height - top - bottom) * (high - value) / (high - low or 1)

    parts = []
    found_ticks = ticks(low, high)
    for value, text in zip(found_ticks, _percents(found_ticks) if shares else map(_number, found_ticks), strict=True):
        parts.append(_line(left, y(value), WIDTH - right, y(value), "rule"))
        parts.append(_text(left - 6, y(value) + 4, text, "end"))
    for step in ticks(0, last):
        parts.append(_text(x(step), height - 6, _number(step), "middle"))
    for curve in found:
        line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in thinned(curve.points))
        parts.append(tag("polyline", points=line, class_=f"line s{curve.style}"))
        a, b = curve.points[-1]
        parts.append(tag("circle", cx=x(a), cy=y(b), r=2.5, class_=f"end-dot s{curve.style}"))
    keys = [
        tag("li", tag("span", class_=f"key s{curve.style}"), tag("bdi", curve.name), " ", tag("b", last_of))
        for curve in found
        for last_of in [percent(curve.points[-1][1]) if shares else _number(curve.points[-1][1])]
    ]
    drawn = picture(WIDTH, height, parts, f"{title}, over steps", "curves")
    return tag("figure", tag("figcaption", title), drawn, tag("ul", *keys, class_="legend"))


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 160 points: means of stretches of equal length."""
    per = -(-len(points) // _POINTS)
    parts = [points[i : i + per] for i in range(0, len(points), per)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


# -- shares and intervals ----------------------------------------------------------------------------------------------
def whiskers(title: str, rows: Sequence[Estimate], *, signed: bool = False) -> Markup:
    """Rows of a name, a dot and its interval on one axis in percent; ``signed``: differences, with a line at zero."""
    low = min(row.value if row.low is None else row.low for row in rows)
    high = max(row.value if row.high is None else row.high for row in rows)
    low, high = (min(low, 0.0), max(high, 0.0)) if signed else (low, high)
    margin = max(0.08 * (high - low), 0.01)
    low, high = low - margin, high + margin
    if not signed:
        low, high = max(0.0, low), min(1.0, high)
    left, right, per = 22.0, 22.0, 38.0  # room for half of a tick's text at both ends
    height = per * len(rows) + 24

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * (value - low) / (high - low)

    parts = []
    found = ticks(low, high)
    for value, text in zip(found, [f"{100 * v:+.3g}" for v in found] if signed else _percents(found), strict=True):
        kind = "even" if signed and abs(value) < 1e-9 else "rule"
        parts.append(_line(x(value), 4, x(value), height - 20, kind))
        parts.append(_text(x(value), height - 6, text, "middle"))
    for i, row in enumerate(rows):
        at, kind = per * i + 28, "s-1" if row.reference else "s0"
        shown = f"{100 * row.value:+.1f}" if signed else percent(row.value)
        parts.append(_text(left, at - 12, short(row.name, 34), "name"))
        parts.append(_text(WIDTH - right, at - 12, shown, "end strong"))
        if row.low is not None and row.high is not None:
            parts.append(_line(x(row.low), at, x(row.high), at, f"whisker {kind}"))
        parts.append(tag("circle", cx=x(row.value), cy=float(at), r=5.0, class_=f"dot {kind}"))
    return tag("figure", tag("figcaption", title), picture(WIDTH, height, parts, title, "whiskers"))


def share_bar(value: Number, low: Number = None, high: Number = None, mark: Number = None) -> Markup:
    """A small bar for a cell of a table: a share, its interval, and a mark for what it is compared with."""
    width, height = 96.0, 12.0
    parts = [tag("rect", width=width, height=height, rx=2.0, class_="track")]
    if value is not None:
        parts.append(tag("rect", width=width * value, height=height, rx=2.0, class_="fill"))
    if low is not None and high is not None:
        parts.append(_line(width * low, height / 2, width * high, height / 2, "interval"))
    if mark is not None:
        parts.append(_line(width * mark, 0, width * mark, height, "mark"))
    return picture(width, height, parts, percent(value), "bar")


# -- decisions ---------------------------------------------------------------------------------------------------------
def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Counts by truth (rows) and decision (columns); the shade of a cell is its share of the row."""
    names = [short(name, 13) for name in names]
    longest = max(map(len, names))
    left, top = 14 + 6.4 * longest, 14 + 5.6 * longest
    side = max(22.0, min(34.0, (WIDTH - left - 10) / len(names)))
    parts = []
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = max(1, sum(row))
        parts.append(_text(left - 6, top + side * (i + 0.5) + 4, name, "end"))
        place = f"translate({left + side * (i + 0.5) + 4:g} {top - 6:g}) rotate(-60)"
        parts.append(tag("text", name, transform=place, class_="start"))
        for j, count in enumerate(row):
            share, kind = count / total, "right" if i == j else "wrong"
            about = f"{count:,} of {total:,} {name} taken for {names[j]}"
            square = {"x": left + side * j + 0.5, "y": top + side * i + 0.5, "width": side - 1, "height": side - 1}
            cell = [tag("title", about), tag("rect", **square, class_="empty")]
            if count:
                # a single mistake must be seen: the shade begins at a quarter
                cell.append(tag("rect", **square, class_=kind, fill_opacity=0.2 + 0.8 * share))
                tone = "middle over" if share > 0.45 else "middle"
                cell.append(_text(left + side * (j + 0.5), top + side * (i + 0.5) + 4, _compact(count), tone))
            parts.append(tag("g", *cell))
    width, height = left + side * len(names) + 3 * longest, top + side * len(names) + 4
    label = "truth by row, decision by column"
    drawn = picture(width, height, parts, label, "confusion")
    return tag("figure", tag("figcaption", "What is taken for what (rows: truth)"), tag("div", drawn, class_="scroll"))


def _compact(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.0f}k"


def reliability(
    bins: Sequence[dict[str, Any]], accepted: Sequence[int], others: Sequence[int], what: str, unit: str
) -> Markup:
    """Dots: the share of held-out decisions that is right, by confidence. Bars: how sure the pseudo-labels are."""
    left, right, rise, low, gap = 44.0, 10.0, 140.0, 44.0, 14.0
    plot, most = WIDTH - left - right, max([1, *(a + b for a, b in zip(accepted, others, strict=True))])
    bars = bool(sum(accepted) + sum(others))
    floor = rise + gap + low
    height = (floor if bars else rise) + 20

    def x(value: float) -> float:
        return left + plot * value

    def y(value: float) -> float:
        return 6 + (rise - 6) * (1 - value)

    parts = [_text(left - 6, y(v) + 4, percent(v, 0), "end") for v in (0, 0.5, 1)]
    parts += [_line(left, y(v), WIDTH - right, y(v), "rule") for v in (0, 0.5, 1)]
    parts += [_text(x(v), height - 5, f"{v:g}", "middle") for v in (0, 0.25, 0.5, 0.75, 1)]
    parts.append(_line(x(0), y(0), x(1), y(1), "even"))
    for row in bins:
        about = f"confidence {row['confidence']:.2f}: {percent(row['value'])} of {row['count']:,} right"
        whisker = _line(x(row["confidence"]), y(row["low"]), x(row["confidence"]), y(row["high"]), "whisker s0")
        dot = tag("circle", cx=x(row["confidence"]), cy=y(row["value"]), r=4.0, class_="dot s0")
        parts.append(tag("g", tag("title", about), whisker, dot))
    for i, (used, rest) in enumerate(zip(accepted, others, strict=True)) if bars else ():
        wide, at = plot / len(accepted) - 1, x(i / len(accepted)) + 0.5
        tall, more = low * used / most, low * rest / most
        about = (
            f"confidence {i / len(accepted):.2f} to {(i + 1) / len(accepted):.2f}: {used:,} learned from, {rest:,} not"
        )
        first = tag("rect", x=at, width=wide, y=floor - tall, height=tall, class_="used")
        second = tag("rect", x=at, width=wide, y=floor - tall - more, height=more, class_="rest")
        parts.append(tag("g", tag("title", about), first, second))
    keys = [tag("li", tag("span", class_="key s0"), f"right {unit}, {what}, with 95 % intervals")]
    if bars:
        keys.append(tag("li", tag("span", class_="key used"), "pseudo-labels learned from"))
        keys.append(tag("li", tag("span", class_="key rest"), "pseudo-labels not learned from"))
    drawn = picture(WIDTH, height, parts, "share that is right, by confidence", "reliability")
    return tag("figure", tag("figcaption", "Right, by confidence"), drawn, tag("ul", *keys, class_="legend"))


def colors(names: Sequence[str], palette: Sequence[Sequence[float]]) -> Markup:
    """Which class or joint is drawn in which color, for pictures that predictions are painted over."""
    keys = []
    for name, color in zip(names[: len(palette)], palette, strict=False):
        fill = "#" + "".join(f"{round(255 * part):02x}" for part in color)
        dot = tag("circle", cx=5.0, cy=5.0, r=5.0, fill=fill)
        swatch = tag("svg", dot, viewBox="0 0 10 10", width=10, height=10, aria_hidden="true", class_="swatch")
        keys.append(tag("li", swatch, " ", tag("bdi", short(name, 24))))
    return tag("ul", *keys, class_="legend")


# -- samples -----------------------------------------------------------------------------------------------------------
def series(channels: Sequence[Sequence[float]], about: str) -> Markup:
    """A sample of a series: each channel in a lane of its own and in its own range."""
    width, height, lane = 140.0, 84.0, 84.0 / max(1, len(channels))
    parts = []
    for c, values in enumerate(channels):
        low, high = min(values), max(values)
        across = (width - 4) / max(1, len(values) - 1)
        places = [
            (2 + i * across, lane * c + 0.1 * lane + 0.8 * lane * (1 - (v - low) / (high - low or 1)))
            for i, v in enumerate(values)
        ]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(tag("polyline", points=line, class_=f"line s{c % 4}"))
    return picture(width, height, parts, about, "series")


def short(text: str, most: int) -> str:
    """Text that is cut to a number of characters."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
