"""What the cells of a column of text say: numbers and dates as people and programs write them, or names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cache

from selftrain.errors import DataError, setting

DAY = 86400.0  # seconds; dates are counted in days since 1970
_FEW = 20  # different numbers up to which they may be codes of something
_SAMPLE = 12  # cells that a layout of dates is tried on before all others
# what stands where a number should be: no number was measured, or it lies beyond what can be
_MARKERS = frozenset((
    "-", "--", "---", "–", "—", ".", "..", "...", "?", "??", "/", "*", "na", "n/a", "n.a.", "n.a", "nd", "n.d.",
    "n.d", "n/d", "nan", "-nan", "nat", "null", "nil", "none", "missing", "unknown", "unk", "k.a.", "#n/a", "#na",
    "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!", "<na>", "<nan>", "1.#qnan", "-1.#ind", "bdl", "lod",
    "<lod", "loq", "<loq", "not available", "not applicable", "not detected", "not measured", "no data", "k. a.",
    "n. d.", "n. a.",
))  # fmt: skip
_BEYOND = re.compile(r"(?:[<>≤≥~]=?|ca\.?)\s*(?P<number>.+)", re.ASCII)
_SIGNS = "$€£¥₹"
_CURRENCIES = rf"[{_SIGNS}]|USD|EUR|GBP|CHF"
_UNIT = rf"%|‰|{_CURRENCIES}|°|°?[A-Za-zµμΩ][A-Za-z0-9µμΩ/²³^·*]{{0,7}}"
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_LAYOUTS = (
    "iso", "%Y-%m", "%m/%Y", *(day + time for day in _DATES for time in _TIMES), *(time.strip() for time in _TIMES[1:])
)  # fmt: skip
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_SHORT = re.compile(r"\d{2}\D\w{2,3}\D\d{2}(\s.*)?", re.ASCII)  # with two digits of the year: 1.2.34 is a version
_CLOCK = re.compile(r"(.*\s)?\d{1,2}:\d\d(:\d\d(\.\d+)?)?( [AaPp][Mm])?", re.ASCII)  # 3:1 is a score


@dataclass(frozen=True)
class Form:
    """How numbers or dates are written in a column.

    Args:
        decimal: The decimal sign, ``"."`` or ``","``; empty: nothing has told yet.
        unit: What stands before or behind every number, such as ``"%"``.
        layout: Of dates, for ``strptime``; ``"iso"``: 2024-12-31 with or without a time; ``None``: numbers.
    """

    decimal: str = ""
    unit: str = ""
    layout: str | None = None


@dataclass
class Cells:
    """The different texts of a column, read in one form.

    Args:
        form: As what they were read.
        values: Numbers, or days since 1970, of the texts that are.
        gaps: Texts that say that nothing was measured, or that it lies beyond a limit, with their counts.
        odd: All other texts, with their counts.
        present: Cells that are not missing.
        doubt: What else they could mean, or nothing.
    """

    form: Form
    values: dict[str, float]
    gaps: dict[str, int] = field(default_factory=dict)
    odd: dict[str, int] = field(default_factory=dict)
    present: int = 0
    doubt: str = ""

    @property
    def measured(self) -> bool:
        """Whether the numbers are too many, or too fine, for codes of something."""
        different = set(self.values.values())
        if self.form.layout is not None:
            return len(different) > 2
        return len(different) > _FEW or any(value % 1 for value in different)

    @property
    def share(self) -> float:
        """Of the cells that are neither missing nor gaps, how many are read."""
        rest = self.present - sum(self.gaps.values())
        return 0.0 if not rest or not self.values else 1 - sum(self.odd.values()) / rest

    @property
    def certain(self) -> bool:
        """Whether the column holds what it was read as, with gaps."""
        if not self.values:
            return False
        # one text that comes again and again among measured numbers says that there is none
        few = self.share >= 0.9 or (len(self.odd) <= 3 and self.share >= 0.1)
        letters = self.form.unit.strip("°")[:1].isalpha() and self.form.unit not in ("USD", "EUR", "GBP", "CHF")
        return (self.measured and few) if self.odd or letters else True


def read_numbers(
    counts: Mapping[str, int], *, decimal: str | None = None, likely: str | None = None, unit: str | None = None
) -> Cells:
    """Read texts as numbers.

    Args:
        counts: How often each text occurs; texts of missing cells are not among them.
        decimal: The decimal sign; ``None``: that which fits more cells.
        likely: That of other columns of the file, which decides where both fit (1,234); ``None``: the point, and what
            is doubtful is told.
        unit: What they must have with them; ``None``: what most have.

    Raises:
        DataError: numbers with decimal points and others with decimal commas.
    """
    unit = _unit_of(counts, decimal or ".,") if unit is None else unit
    if decimal is not None:
        return _as_numbers(counts, decimal, unit)
    ways = {sign: _as_numbers(counts, sign, unit) for sign in ".,"}
    points, commas = ways["."], ways[","]
    only_point = next((text for text in points.values if text in commas.odd), None)
    only_comma = next((text for text in commas.values if text in points.odd), None)
    if only_point is not None and only_comma is not None and _mixed(points, commas):
        raise DataError(f"{only_point!r} has a decimal point and {only_comma!r} a decimal comma")
    if only_point is not None or only_comma is not None:
        return max(points, commas, key=lambda cells: cells.share)
    found = ways[likely or "."]
    twofold = next((t for t, value in points.values.items() if "," in t and value != commas.values.get(t)), None)
    if twofold is None:
        found.form = replace(found.form, decimal="")
    elif likely is None:
        found.doubt = f"{twofold!r} as {found.values[twofold]:g}"
    return found


def certain_decimal(counts: Mapping[str, int]) -> str | None:
    """The decimal sign of a column of numbers, if its cells leave no other."""
    unit = _unit_of(counts, ".,")
    read = {sign: _as_numbers(counts, sign, unit) for sign in ".,"}
    for sign, other in (".,", ",."):
        if read[sign].share >= 0.9 and any(text in read[other].odd for text in read[sign].values):
            return sign
    return None


def read_dates(counts: Mapping[str, int], layout: str | None = None) -> Cells:
    """Read texts as dates or times of day: days since 1970, and shares of a day.

    Args:
        counts: How often each text occurs.
        layout: Of ``Form``; ``None``: that which reads most of them, the first in a list of usual ones.
    """
    texts = [text for text in counts if any(sign.isdigit() for sign in text) and len(text) < 40]
    some = texts[:: max(1, len(texts) // _SAMPLE)]
    layouts = [layout] if layout else [one for one in _LAYOUTS if sum(_is_date(t, one) for t in some) * 2 > len(some)]
    found = [
        _sorted_out(counts, {t: d for t in texts if (d := _day(t, one)) is not None}, Form(layout=one))
        for one in layouts
    ]
    if not found:
        return _sorted_out(counts, {}, Form(layout="iso"))
    best = max(found, key=lambda cells: cells.share)  # the first of equals
    other = next((c for c in found if c.share == best.share and c.values != best.values), None)
    if other is not None:
        text = next(text for text in best.values if best.values[text] != other.values.get(text))
        best.doubt = f"{text!r} as {best.form.layout}, and {other.form.layout} fits as well"
    return best


def shown_day(days: float, layout: str) -> str:
    """A date that is counted in days since 1970, or a time of day, as text."""
    try:
        # rows are in single precision: a few seconds beside midnight are none
        days = round(days) if abs(days - round(days)) < 1e-4 else days
        moment = datetime(1970, 1, 1) + timedelta(seconds=round(days * DAY))
    except (ValueError, OverflowError):
        return f"{days:.6g}"
    if layout != "iso" and "%Y" not in layout and "%y" not in layout:
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%Y-%m-%d" if days == round(days) else "%Y-%m-%d %H:%M:%S")


def days_of(moment: datetime) -> float:
    """Days since 1970; a moment without a time zone counts as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (aware - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() / DAY


def listed(texts: Mapping[str, int], most: int = 3) -> str:
    """The most frequent texts with their counts, for a message."""
    first = sorted(texts, key=lambda text: -texts[text])[:most]
    return ", ".join(f"{text[:30]!r} {texts[text]:,} x" for text in first) + (", ..." if len(texts) > most else "")


def _mixed(points: Cells, commas: Cells) -> bool:
    read = points.values.keys() | commas.values.keys()
    odd = sum(count for text, count in points.odd.items() if text not in read)
    return bool(points.present) and odd <= 0.1 * points.present and points.measured


def _unit_of(counts: Mapping[str, int], decimals: str) -> str:
    """The unit that most numbers have."""
    units: dict[str, int] = {}
    for text, count in counts.items():
        found = next((number for sign in decimals if (number := _number(text, sign)) is not None), None)
        if found is not None:
            units[found[1]] = units.get(found[1], 0) + count
    return max(units, key=lambda own: units[own]) if units else ""


def _as_numbers(counts: Mapping[str, int], decimal: str, unit: str) -> Cells:
    read = {text: found for text in counts if (found := _number(text, decimal)) is not None}
    values = {text: value for text, (value, own) in read.items() if own == unit}
    return _sorted_out(counts, values, Form(decimal, unit))


def _sorted_out(counts: Mapping[str, int], values: dict[str, float], form: Form) -> Cells:
    rest = {text: count for text, count in counts.items() if text not in values}
    gaps = {text: count for text, count in rest.items() if _is_gap(text)}
    odd = {text: count for text, count in rest.items() if text not in gaps}
    return Cells(form, values, gaps, odd, sum(counts.values()))


def _is_gap(text: str) -> bool:
    if text.casefold() in _MARKERS:
        return True
    beyond = _BEYOND.fullmatch(text)
    return beyond is not None and any(_number(beyond["number"], sign) is not None for sign in ".,")


def _number(text: str, decimal: str) -> tuple[float, str] | None:
    """A number and the unit with it."""
    if not any("0" <= sign <= "9" for sign in text):
        return None
    plain = text.replace("\u2212", "-")
    if plain.startswith("(") and plain.endswith(")"):  # how accounts write negative numbers
        plain = "-" + plain[1:-1]
    found = _pattern(decimal).fullmatch(plain)
    if found is None or not any("0" <= sign <= "9" for sign in found["number"]):
        return None
    group, number = found["group"], found["number"]
    number = number if group is None else number.replace(group, "")
    try:
        value = float((found["sign"] or "") + number.replace(",", "."))
    except ValueError:  # two signs
        return None
    return value, (found["before"] or "") + (found["behind"] or "")


@cache
def _pattern(decimal: str) -> re.Pattern[str]:
    groups = ("," if decimal == "." else ".") + "'\u2019 \u00a0\u202f"
    number = (
        rf"(?:[1-9]\d{{0,2}}(?P<group>[{groups}])\d{{3}}(?:(?P=group)\d{{3}})*|\d*)(?:\{decimal}\d*)?(?:[eE][+-]?\d+)?"
    )
    sign = r"(?P<sign>[+-])?"
    return re.compile(
        rf"{sign}(?:(?P<before>{_CURRENCIES})\s*)?(?P<number>[+-]?{number})(?:\s*(?P<behind>{_UNIT}))?", re.ASCII
    )


def _is_date(text: str, layout: str) -> bool:
    """Whether a text has this layout, and not only happens to be read with it."""
    if ("%y" in layout and _SHORT.fullmatch(text) is None) or (":" in layout and _CLOCK.fullmatch(text) is None):
        return False
    return _day(text, layout) is not None


def _day(text: str, layout: str) -> float | None:
    if layout == "iso" and _ISO.fullmatch(text) is None:
        return None
    try:
        if layout == "iso":
            day = text.replace("Z", "+00:00").replace(" +", "+")
            return days_of(datetime.fromisoformat(day))
        moment = datetime.strptime(text, layout)
    except ValueError:
        return None
    days = days_of(moment)
    return days if "%Y" in layout or "%y" in layout else days % 1  # a time alone is of the year 1900


def check_kind(name: str, kind: str) -> tuple[str, str]:
    """A kind of column and what stands behind its colon: a decimal sign or a layout of dates.

    Raises:
        DataError: an unknown kind.
    """
    head, _, rest = kind.partition(":")
    if not kind:
        return "", ""
    fits = {"number": rest in ("", ".", ","), "date": not rest or "%" in rest, "category": not rest, "drop": not rest}
    if not fits.get(head, False):
        raise DataError(
            f"columns calls {name!r} {kind!r}; say number, number:, (with decimal commas), category, date, "
            "date:%d/%m/%Y, or drop"
        )
    return head, rest


def remedy(names: Iterable[str], kind: str) -> str:
    """What to say to have columns read in another way."""
    return setting("columns", dict.fromkeys(names, kind))
