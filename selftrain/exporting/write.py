"""Write the network of a run for use elsewhere."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.data import PointViews
from selftrain.engine.run import Run, Which
from selftrain.errors import SelftrainError
from selftrain.estimator.shipped import on_inputs, ship
from selftrain.exporting.formats import FORMATS
from selftrain.exporting.network import Deployed, What, deployed
from selftrain.networks.fitting import doubt_of_answers
from selftrain.storage.atomic import whole_file, write_json
from selftrain.storage.run_dir import versions
from selftrain.types import plain_settings

FORMAT = 1
# Traced with more than one sample: torch.export takes a size of 1 for a constant of the program.
_BATCHES = (3, 1)  # samples that are asked: the first also as the example that is traced


@plain_settings
def export(
    run: Run,
    folder: str | Path,
    *,
    what: What = "classifier",
    formats: Sequence[str] = ("safetensors",),
    overwrite: bool = False,
    about: Mapping[str, Any] | None = None,
    which: Which | None = None,
) -> dict[str, Path]:
    """Write the classifier or the encoder of a run, with a card that says what it takes and gives.

    A head that has learned from features of a frozen encoder (``Pile.encoded``) is written with the encoder.

    Inputs are those of the data set: images as floats in [0, 1] (bytes / 255), rows of a table as encoded, series and
    clouds in their own units; the normalization is part of what is written (but for the plain weights of
    ``"safetensors"``, where the card has it). Each file is read back and must give the same answers before it is there.

    Args:
        run: A finished run.
        folder: For ``classifier.json`` (the card) and ``classifier.safetensors``, ``.onnx`` or ``.pt2``; likewise
            ``encoder``.
        what: ``"classifier"``: inputs to probabilities, of masks one for each pixel and class, of joints heatmaps;
            ``"encoder"``: inputs to features.
        formats: Some of ``"safetensors"`` (weights alone, which ``learner(init_from=...)`` takes), ``"onnx"`` (needs
            ``selftrain[onnx]``) and ``"torch"`` (a program of ``torch.export``).
        overwrite: Replace files of these names.
        about: Further lines of the card.
        which: ``"last"`` or ``"best"`` weights; ``None``: those that the run ships (``Run.ships``).

    Returns:
        The files by format, and the card as ``"card"``.

    Raises:
        ValueError: an unknown format, files that are there already, a run that has no classifier or no encoder.
        SelftrainError: the network cannot be written in a format, or what was read back gives other answers; it answers
            by chance, or a sample by the others of its batch.
        ImportError: ``"onnx"`` without the packages it needs.
    """
    with run.weights(which) as step:
        return _export(run, folder, what, formats, overwrite, {"step": step, **(about or {})})


def _export(
    run: Run, folder: str | Path, what: What, formats: Sequence[str], overwrite: bool, about: Mapping[str, Any]
) -> dict[str, Path]:
    inputs, views = run.inputs, run.views
    clouds = isinstance(views, PointViews)
    stored = run.encoder
    if stored is not None:
        encoder, shape = stored
        shipped = on_inputs(ship(run.strategy, len(run.classes)), encoder, views)
        inputs = encoder.card(shape)
        network = Deployed(encoder if what == "encoder" else shipped, inputs["mean"], inputs["std"], len(shape))
    else:
        network = deployed(run.strategy, inputs, len(run.classes), what, centered=clouds)
        _check_plain(network, views, inputs["shape"])
    # a cloud (N, 3) has as many axes as a series; only its views tell
    kind = "points" if clouds else {1: "table", 2: "series", 3: "image"}[len(inputs["shape"])]
    known: dict[str, Any] = {"strategy": type(run.strategy).__name__, "kind": kind}
    known["network"] = type(run.network).__name__
    known |= {"classes": [str(name) for name in run.classes]} if what == "classifier" else {}
    card = known | dict(about)
    return export_network(network, folder, inputs, card, what=what, formats=formats, overwrite=overwrite)


def export_network(
    network: Deployed,
    folder: str | Path,
    inputs: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    what: What = "classifier",
    formats: Sequence[str] = ("safetensors",),
    overwrite: bool = False,
) -> dict[str, Path]:
    """As ``export``, of a network that was made ready by ``deployed``.

    Args:
        network: What is written.
        folder: Where.
        inputs: ``shape``, ``mean``, ``std`` of an input, and whatever else the card shall say of it.
        about: Further lines of the card, such as ``classes``.
        what: Name of the files.
        formats: As in ``export``.
        overwrite: As in ``export``.
    """
    formats = [formats] if isinstance(formats, str) else formats
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats is {list(formats)}; choose some of {', '.join(FORMATS)}")
    place = Path(folder)
    files = {name: place / f"{what}{FORMATS[name].ending}" for name in dict.fromkeys(formats)}
    files["card"] = place / f"{what}.json"
    # all of them before one is written: a refusal must not leave half of the files replaced
    there = [path for path in files.values() if path.exists()]
    if there and not overwrite:
        raise ValueError(f"{there[0]} is there already; overwrite it, or choose another folder")
    asked = _examples(inputs["shape"], network)
    if network.dtype == torch.float64:
        inputs = {**inputs, "dtype": "float64"}
    with torch.no_grad():
        answers = [network(asked[0])]
        name, alone = str(about.get("network", type(network).__name__)), _alone(network, asked[0][:1])
        odd = doubt_of_answers(name, network, answers[0], network(asked[0]), alone, 1e-4)
        if odd:
            raise SelftrainError(f"a file of this network would answer otherwise than it: {odd}")
        answers += [network(x) for x in asked[1:]]
    card = {
        "format": FORMAT,
        "what": what,
        **about,
        "input": dict(inputs),
        "output": _output(network, what, answers[0]),
    }
    for name in files:
        if name != "card":
            _written(name, network, files[name], asked, answers)
    sums = {name: {"file": path.name, "sha256": _sum(path)} for name, path in files.items() if name != "card"}
    # last: it has the sums of the files, and no card may vouch for files that are not all there
    write_json(files["card"], card | {"versions": versions(), "files": sums})
    return files


def _alone(network: Deployed, x: Tensor) -> Tensor | None:
    """The answer to a single sample; ``None``: the network takes no single one."""
    try:
        answer: Tensor = network(x)
    except (RuntimeError, ValueError):
        return None
    return answer


def _written(name: str, network: Deployed, path: Path, asked: Sequence[Tensor], answers: Sequence[Tensor]) -> None:
    """Write one file beside its place, read it back, compare, and put it there."""
    form = FORMATS[name]
    with whole_file(path, create=True) as part:
        beside = part.with_name(f"{part.name}{form.ending}")  # some writers go by the ending
        try:
            _call(name, form.write, network, asked[0], beside)
            ask = _call(name, form.read, network, beside)
            for x, wanted in zip(asked, answers, strict=True):
                with torch.no_grad():
                    _compare(name, _call(name, ask, x), wanted, form.tolerance)
            beside.replace(part)
        finally:
            beside.unlink(missing_ok=True)


def _call(name: str, function: Any, *given: Any) -> Any:
    try:
        return function(*given)
    except (ImportError, SelftrainError, OSError):
        # these name their own remedy, such as a package or the disk; another format is none
        raise
    except Exception as error:  # exporters raise whatever their passes do
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SelftrainError(f"this network cannot be written as {name}: {first}; choose another format") from error


def _compare(name: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    # shapes first: allclose broadcasts, and one row would do for three
    same = found.shape == wanted.shape and torch.allclose(found, wanted, rtol=tolerance, atol=tolerance)
    if not same:
        gap = float((found - wanted).abs().max()) if found.shape == wanted.shape else math.inf
        raise SelftrainError(
            f"the {name} file gives other answers than the network (largest difference {gap:.3g}); nothing was written"
        )


def _examples(shape: Sequence[int], network: Deployed) -> list[Tensor]:
    """Inputs to compare answers on; the first is also the one that is traced."""
    draw = torch.Generator().manual_seed(0)
    drawn = [torch.rand(size, *shape, generator=draw) for size in _BATCHES]
    # far from the origin inputs in [0, 1] would all be one to the network
    return drawn if network.dtype == torch.float32 else [x * network.std + network.mean for x in drawn]


def _output(network: Deployed, what: str, answer: Tensor) -> dict[str, Any]:
    task = getattr(network.network, "task", None)
    probabilities = "probabilities" if task is None or task.has_classes else "heatmaps"
    return {"shape": list(answer.shape[1:]), "meaning": probabilities if what == "classifier" else "features"}


def _check_plain(network: Deployed, views: Any, shape: Sequence[int]) -> None:
    """Refuse views that do more to a plain input than to normalize it."""
    unit = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    if len(shape) < 3:  # not images in [0, 1]: values so large that any clipping shows
        unit = 1000 * (unit - 0.5) * network.std + network.mean
    # asked and not looked up: views may be a class of the user's
    plain = views("plain", unit, torch.arange(len(unit)), 0).x
    if not torch.allclose(network.plain(unit), plain.float().cpu(), rtol=1e-4, atol=1e-4):
        raise SelftrainError(
            f"{type(views).__name__} do more to an input than subtract a mean and divide by a deviation, which "
            "an exported network cannot repeat; export plain weights with run.export() instead"
        )


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
