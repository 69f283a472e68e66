"""Settings and final figures of a run, as TensorBoard compares them between runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Value = float | str
_NETWORKS = {"network", "encoder"}  # what is below them are sizes of layers
_SHOWN = 20  # of a long list
_LEFT_OUT = ("monitor", "views", "channels_last", "workers")


def settings_of_run(settings: Mapping[str, Any]) -> dict[str, Value]:
    """The settings that runs are compared by, flat: method, steps, plan, learning rate, and what the method was given.

    TensorBoard sorts the columns and shows five at once: what the method was given starts with ``with.`` to come
    last.

    Args:
        settings: As in ``run.json``.
    """
    chosen = {"strategy": settings["strategy"], "steps": settings["total_steps"]} | dict(settings["plan"])
    rates = settings["learning_rates"]
    if rates and rates[0]:
        chosen["learning_rate"] = rates[0][-1]
    chosen |= {f"with.{name}": value for name, value in flat(settings["settings"]).items()}
    return {
        name: value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else str(value)
        for name, value in chosen.items()
        if value is not None and name.rpartition(".")[2] not in _LEFT_OUT
    }


def in_short(value: Any) -> Any:
    """Settings with the first of long lists, such as the names of thousands of classes, and how many there are."""
    if isinstance(value, Mapping):
        return {key: in_short(inner) for key, inner in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    rest = [f"... {len(value) - _SHOWN:,} more"] if len(value) > 2 * _SHOWN else []
    return [in_short(inner) for inner in (value[:_SHOWN] if rest else value)] + rest


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of names, without the sizes of networks."""
    rows: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in _NETWORKS:
            rows |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return rows


def final_figures(parts: Iterable[str], monitor: str) -> list[str]:
    """Tags whose last values are compared.

    TensorBoard shows the first five of the run that it finds first, of all runs: these are the same ones for each, so
    that every run has one of them, with held-out labels or without.
    """
    shown = [f"validation/{monitor}", "ledger/accepted", "train/loss/supervised", f"test/{monitor}", "unlabeled/rankme"]
    others = [f"{part}/{monitor}" for part in parts]
    ledger = ["pseudo_label_accuracy", "calibration_error"]
    rest = [*others, "classes/lowest_accuracy", "teacher/lead", *(f"ledger/{name}" for name in ledger),
            *(f"baseline/{figure}" for figure in (shown[0], *others))]  # fmt: skip
    return list(dict.fromkeys([*shown, *rest]))
