"""Write the review page of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from selftrain.engine.run import Run
from selftrain.errors import DataError
from selftrain.evaluation.judging import judged
from selftrain.evaluation.label_errors import LabelErrors, label_errors
from selftrain.labels.ledger import Ledger
from selftrain.labels.page.html import page_bytes
from selftrain.labels.page.pictures import make_pictures
from selftrain.labels.page.similar import looks, similarity_order
from selftrain.labels.page.source import Inputs, Painted, inputs_of, is_painted, opened, rows_in_pile
from selftrain.storage.atomic import whole_file
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tensorboard.tiles import COLORS
from selftrain.types import Pile

Choose = Literal["margin", "random"]
_MOST = 200_000  # rows: more are higher than a browser can scroll
_TEXTS = ("confidence", "margin", "agreement")  # as text, so that the CSV file has the digits of the ledger's


def write_review(
    run: Run | Ledger | str | Path,
    pile: Pile,
    path: str | Path,
    *,
    samples: int = 10_000,
    choose: Choose = "margin",
    part: object = "validation",
    strategy: SupervisedStrategy | None = None,
    name: str | None = None,
    columns: Sequence[str] | None = None,
    candidates: Sequence[Mapping[str, Any]] | None = None,
    thumbnail: int = 128,
    megabytes: float = 24.0,
    seed: int = 0,
) -> Path:
    """Write one HTML file that shows pseudo-labels and takes a person's verdicts.

    The page needs no network and no other file. It shows each sample (a picture, a table row, curves or a cloud of
    points) with label, confidence, margin, flips and history, and estimates of how many labels are right. Masks and
    joints are painted beside their pictures, with a map of what is doubtful; first come those of which a class (or a
    joint) is least sure, and a sample is accepted, rejected, or accepted but for what is less sure than some percent.
    The page's download is the ledger's CSV file with ``verdict`` and ``correction`` filled in, which
    ``labels.review.read_review`` reads; masks and joints themselves are those that ``Ledger.to_masks`` wrote beside it.
    Progress stays in the browser, under a key that is made from the pseudo-labels: the page of the same run, written
    again, goes on with it. Truth is never written.

    Args:
        run: A run, its folder, a ledger, or a ledger's file.
        pile: Its data, with the unlabeled samples that the ledger is about.
        path: The file to write; it appears whole or not at all.
        samples: At most so many samples are shown, up to 200,000; 10,000 are handled well within a second.
        choose: Which, where there are more: ``"margin"``, the least certain ones, or ``"random"``, from which a person
            can tell how many of all labels are right. Samples that were never labeled come last.
        part: Held-out labels for the estimates: a part of the pile, or another data set.
        strategy: Where ``run`` is not a ``Run``: a strategy built as that of the run, for the estimates. With a run
            folder it takes the weights of the newest checkpoint; ``None``: it is built again (``open_run``). With a
            ledger ``None`` means: no estimates.
        name: What the page calls the run; default: the name of its folder or file.
        columns: Names of the columns of a table, F of them; default: their numbers.
        candidates: What was tried, in the order of weight, as ``SelfTrainClassifier.candidates_``; ``None``: what the
            run has tried, if it did.
        thumbnail: Longer side of a picture in pixels, at most; larger images are scaled down.
        megabytes: Limit of what shows the samples.
        seed: Of the choice of samples and of the intervals.

    Returns:
        The path of the page.

    Raises:
        ValueError: a setting out of its range, pictures that do not fit into ``megabytes``, a run that has no labels,
            or a ledger of masks or joints without a strategy that draws them.
        DataError: a ledger that is of another pile, or a file that cannot be read.
        RunFolderError: a folder without a run, or one that cannot be built again: pass ``strategy``.
    """
    _check_settings(samples, choose, thumbnail, megabytes)
    ledger, strategy, title = opened(run, pile, strategy)
    painted = is_painted(pile, strategy)
    rows, across = chosen(ledger, samples, choose, seed), thumbnail
    inputs = shown = inputs_of(pile, rows_in_pile(ledger, pile, rows))
    if painted and strategy is not None:
        shown = painting = Painted(pile, inputs.rows, inputs.points, strategy=strategy, side=thumbnail)
        across = thumbnail * painting.panels
    pictures = make_pictures(shown, across, int(megabytes * 1e6), columns)
    content = {
        "format": 1,
        "key": f"selftrain-review:{digest(ledger)}",
        "run": title if name is None else name,
        "classes": [str(c) for c in ledger.classes],
        "total": len(ledger),
        "choose": choose,
        "rows": _columns(ledger, rows, inputs),
        "pictures": pictures.form,
        "judged": judged(None if painted else strategy, pile, ledger, part, seed),
        "painted": _painted(strategy, ledger) if painted and strategy is not None else None,
        "given": None,
        "tried": list(getattr(strategy, "candidates", ()) if candidates is None else candidates),
    }
    with whole_file(path, create=True) as file:
        file.write_bytes(page_bytes(content, pictures.blobs))
    return Path(path)


def write_label_review(
    pile: Pile,
    probabilities: Tensor,
    path: str | Path,
    *,
    samples: int = 10_000,
    name: str | None = None,
    columns: Sequence[str] | None = None,
    thumbnail: int = 128,
    megabytes: float = 24.0,
) -> LabelErrors:
    """Write one HTML file that shows the labels that were **given**, the most doubtful ones first.

    What it saves is taken by ``Pile.reviewed`` and ``--labels`` like a review of pseudo-labels: corrected labels are
    replaced, rejected samples left out.

    Args:
        pile: With labels that are classes.
        probabilities: Of its labeled samples in their order, (L, C), by networks that did not see their labels, such as
            ``selftrain.pipeline.out_of_fold`` gives.
        path: The file to write; it appears whole or not at all.
        samples: At most so many samples are shown, the most doubtful ones.
        name: What the page calls the data; default: their source.
        columns: Names of the columns of a table.
        thumbnail: Longer side of a picture in pixels, at most.
        megabytes: Limit of what shows the samples.

    Returns:
        What was found, see ``selftrain.evaluation.label_errors``.

    Raises:
        DataError: a pile without such labels, or probabilities that are not of them.
        ValueError: a setting out of its range, or pictures that do not fit into ``megabytes``.
    """
    from selftrain.data.pile import GIVEN

    _check_settings(samples, "margin", thumbnail, megabytes)
    labeled: Any = getattr(pile, "labeled", None)
    given = None if labeled is None else labeled.annotations
    if given is None or given.dim() != 1:
        raise DataError("the pile has no labels that are classes; pass one that has")
    found = label_errors(probabilities, given)
    ledger = Ledger([f"{GIVEN}{one}" for one in labeled.ids], list(pile.classes))
    ledger.label, ledger.seen = found.label.int(), torch.ones(len(given), dtype=torch.int32)
    ledger.confidence, ledger.margin, ledger.accepted = found.confidence.float(), found.margin.float(), found.suspected
    rows = chosen(ledger, samples, "margin", 0)
    inputs = inputs_of(pile, rows.numpy(), "labeled")
    pictures = make_pictures(inputs, thumbnail, int(megabytes * 1e6), columns)
    value = torch.as_tensor(probabilities).double().gather(1, found.suggested[:, None])[:, 0]
    content = {
        "format": 1,
        "key": f"selftrain-review:{digest(ledger)}",
        "run": str(getattr(pile, "source", "labels")) if name is None else name,
        "classes": [str(c) for c in ledger.classes],
        "total": len(ledger),
        "choose": "margin",
        "rows": _columns(ledger, rows, inputs),
        "pictures": pictures.form,
        "judged": judged(None, pile, ledger, None),
        "tried": [],
        "given": {
            "suspected": int(found.suspected.sum()),
            "suggested": found.suggested[rows].tolist(),
            "value": [f"{one:.3f}" for one in value[rows].tolist()],
        },
    }
    with whole_file(path, create=True) as file:
        file.write_bytes(page_bytes(content, pictures.blobs))
    return found


def chosen(ledger: Ledger, samples: int, choose: Choose, seed: int) -> Tensor:
    """Rows of a ledger that are shown, shape (M,), M <= ``samples``, least certain first or in random order.

    Of masks and joints by the class, or joint, that is least sure.
    """
    rank = ledger.margin.cpu().double() if ledger.units is None else ledger.doubt().cpu().double()
    if choose == "random":
        rank = torch.rand(len(ledger), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # margins end at 1, so rows that were never labeled come after all others
    rank = rank + 2.0 * (ledger.seen.cpu() == 0)
    return rank.argsort(stable=True)[:samples]


def digest(ledger: Ledger) -> str:
    """Text that tells the pseudo-labels of one run from those of another: 32 hexadecimal digits."""
    found = hashlib.sha256(repr((len(ledger), [str(c) for c in ledger.classes])).encode())
    for column in (ledger.label, ledger.confidence, ledger.seen):
        found.update(column.cpu().contiguous().numpy().tobytes())
    # some ids tell one pile from another; reading all of ten million would take seconds
    step = max(1, len(ledger) // 1000)
    for i in range(0, len(ledger), step):
        # names of files may hold bytes that are no text; the zero keeps `ab`, `c` and `a`, `bc` apart
        found.update(str(ledger.ids[i]).encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()[:32]


def _columns(ledger: Ledger, rows: Tensor, inputs: Inputs) -> dict[str, list[Any]]:
    """What the ledger says of these rows, column by column; numbers with a fraction as the text of the CSV file.

    ``similar`` is the place of each in an order in which those that look alike are neighbors.
    """
    names = {
        "label": "label", "accepted": "accepted", "first": "first_accepted", "flips": "flips", "seen": "seen",
        "confidence": "confidence", "margin": "margin", "agreement": "agreement",
    }  # fmt: skip
    found: dict[str, list[Any]] = {"row": rows.tolist(), "id": [str(ledger.ids[row]) for row in rows.tolist()]}
    for key, name in names.items():
        values = getattr(ledger, name).cpu()[rows]
        if key in _TEXTS:
            texts = values.numpy().astype(str).tolist()
            missing = (values < 0).tolist()  # an agreement that was never given
            found[key] = ["" if absent else text for text, absent in zip(texts, missing, strict=True)]
        else:
            found[key] = values.int().tolist()
    if ledger.units is not None:
        found["doubt"] = [f"{one:.4f}" for one in ledger.doubt()[rows].tolist()]
    if len(rows):
        # the inverse of an order: the place of each row in it
        found["similar"] = similarity_order(looks(inputs)).argsort().tolist()
    return found


def _painted(strategy: SupervisedStrategy, ledger: Ledger) -> dict[str, Any]:
    """What is painted over pictures, and the color of each class or joint."""
    task = strategy.task
    names = [str(c) for c in ledger.classes] if task.has_classes else [f"joint {i}" for i in range(task.groups)]
    colors = ["#" + "".join(f"{round(255 * part):02x}" for part in COLORS[i % len(COLORS)]) for i in range(len(names))]
    return {"unit": "masks" if task.has_classes else "joints", "names": names, "colors": colors}


def _check_settings(samples: int, choose: str, thumbnail: int, megabytes: float) -> None:
    if not 1 <= samples <= _MOST:
        raise ValueError(f"samples is {samples}; a page holds 1 to {_MOST:,}")
    if choose not in ("margin", "random"):
        raise ValueError(f"choose is {choose!r}; choose 'margin' or 'random'")
    if not 8 <= thumbnail <= 1024:
        raise ValueError(f"thumbnail is {thumbnail}; it must be from 8 to 1024 pixels")
    # turned around, so that NaN is refused
    if not megabytes > 0:
        raise ValueError(f"megabytes is {megabytes}; it must be above 0")
