"""What is wrong with masks and joints."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.base.fitting import are_joints, mask_numbers
from selftrain.data.base.units import VOID
from selftrain.data.checks.findings import Finding
from selftrain.data.pile import Pile
from selftrain.data.readers.masks import from_masks, survey
from selftrain.errors import DataError


def mask_findings(images: Path, settings: Mapping[str, Any]) -> list[Finding]:
    """All that keeps masks in files from being read, where ``from_masks`` names the first; none: they can be."""
    usual = {name: one.default for name, one in inspect.signature(from_masks).parameters.items()}
    given = {name: settings.get(name, usual[name]) for name in inspect.signature(survey).parameters if name != "images"}
    with suppress(DataError):  # told by the reader
        found = survey(images, **given)
        return [Finding(kind, "stops", text, [[name] for name in files]) for kind, text, files in found.faults]
    return []


def unit_findings(pile: Pile) -> tuple[list[str], list[Finding]]:
    """Lines of the summary and findings on the masks or joints of a pile; none where there is one label a sample."""
    known = None if pile.labeled is None else pile.labeled.annotations
    if pile.labeled is None or known is None or known.ndim < 3:
        return [], []
    sides = tuple(pile.labeled.images(np.zeros(1, np.int64)).shape[2:])
    if are_joints(known, sides):
        places, there = known[..., :2], known[..., 2] > 0
        low, high = places.new_tensor(-0.5), places.new_tensor([sides[1] - 0.5, sides[0] - 0.5])
        lost = (there & ((places < low) | (places > high)).any(-1)).nonzero().tolist()
        text = f"{len(lost):,} joints outside their picture; give x and y in pixels of it, NaN where one is missing"
        names = [[f"{pile.labeled.ids[row]}: joint {joint}"] for row, joint in lost]
        counts = ", ".join(f"{name} {int(n):,}" for name, n in zip(pile.classes, there.sum(0), strict=False))
        return [f"joints     {counts}"] * bool(counts), [Finding("joint outside", "harms", text, names)] * bool(lost)
    numbers = mask_numbers(known)
    whole = max(1, sum(count for number, count in numbers.items() if number not in (-1, VOID)))
    shares = [f"{name} {100 * numbers.get(i, 0) / whole:.1f} %" for i, name in enumerate(pile.classes)]
    none = [str(name) for i, name in enumerate(pile.classes) if not numbers.get(i)]
    text = f"no pixel of class {', '.join(none)}; it can never be predicted: label some, or leave it out"
    return [f"pixels     {', '.join(shares)}"], [Finding("no pixel", "harms", text)] * bool(none)
