"""The book of pseudo-labels: for every unlabeled sample what was said of it, how surely, since when, how steadily."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.labels.columns import COLUMNS, KINDS, read_columns
from selftrain.labels.maps import Original, write_maps
from selftrain.metrics.calibration_error import expected_calibration_error, pseudo_label_accuracy
from selftrain.storage.tables import Column, write_csv, write_parquet
from selftrain.tasks import Task
from selftrain.tasks.geometry import enlarged
from selftrain.types import PseudoLabels, View

_STORED = ("label", "confidence", "margin", "accepted", "first_accepted", "flips", "seen", "agreement")
MAY_LACK = ("pseudo_label_accuracy", "prediction_accuracy")  # figures of a step that are NaN where there are none
_ROWS = 50_000  # written at once
SHARE, SURE, TAKEN = range(3)  # columns of `units`, before the places of joints
HIT, SAID, TRUE = range(3)  # columns of `against`: units that are right, said to be of a group, and truly of it
Said = Callable[[], Iterable[tuple[PseudoLabels, tuple[int, int]]]]  # and height and width of the pictures


@dataclass(frozen=True)
class ClassRow:
    """What a ledger says of one class, or of one joint. ``None``: cannot be told.

    Attributes:
        name: Of the class, or the joint.
        count: Samples whose pseudo-label is this class; of masks, those that have a pixel of it.
        accepted: Those of them that are accepted; of masks and joints, those of which at least half of these units are.
        confidence: Mean of the ``count``; of masks, of their pixels.
        flips: Mean number of changes of the decision, of the ``count``.
        precision: Share of the accepted that is right, where the truth is known; of masks of their pixels, of joints
            those that are near enough.
        share: Share of this class among all accepted; of masks, of the pixels.
        ratio: ``share`` over the expected share.
    """

    name: str
    count: int
    accepted: int
    confidence: float | None
    flips: float | None
    precision: float | None
    share: float
    ratio: float | None


class Ledger(nn.Module):
    """Record the newest pseudo-label of every unlabeled sample; its tensors are saved with the checkpoint.

    A sample with several units (pixels, joints) has no decision of its own: its ``label`` stays -1, confidence, margin
    and agreement are means, and it is accepted when at least half of the units are; ``units`` has what was said of each
    class or joint. The tensors take 29 bytes a row, and 6 for each class (10 for each joint) of such tasks; files are
    written and read block by block.

    Args:
        ids: Name or path of each sample, N of them.
        classes: Names of the classes, or of the joints; may be empty.
        truth: True class of each sample where known (-1 elsewhere), shape (N,), or its mask or joints; only for
            figures, never exported.

    Attributes:
        label: Last decision, shape (N,); -1: never labeled, or one for each of several units.
        confidence, margin: Of that decision, in [0, 1].
        accepted: Whether it was used.
        first_accepted: Step at which the sample was first used; -1: never.
        flips: How often the decision changed; of a mask its largest class, of joints the places of half of them.
        seen: How often the sample was labeled.
        agreement: Share of the members (or looks of one) that sided with the last decision they were asked for, in
            [0, 1]; -1: never given.
        units: ``None`` where a sample is one unit; else of each sample and class (or joint) the share of the sample's
            units, their mean confidence and the share of them that was accepted, and of joints the place (x, y), all in
            [0, 1], shape (N, groups, 3 or 5).
        against: ``None`` where a sample is one unit, or no truth is known; else of each sample and class (or joint) the
            shares of its units that are right, said to be of that group, and truly of it, (N, 2, groups, 3): first of
            the accepted units, then of all.
        task: What the labels are of, where it is known.
        maps: Gives the units themselves anew, for ``to_masks``; ``None``: they cannot be told.
        originals: Gives what tells height and width of a row's file, and how it was fitted; ``None``: not known.
    """

    truth: Tensor | None
    label: Tensor
    confidence: Tensor
    margin: Tensor
    accepted: Tensor
    first_accepted: Tensor
    flips: Tensor
    seen: Tensor
    agreement: Tensor
    units: Tensor | None
    against: Tensor | None

    def __init__(self, ids: Sequence[str], classes: Sequence[str] = (), truth: Tensor | None = None) -> None:
        super().__init__()
        n = len(ids)
        self.ids, self.classes = ids, classes
        # not in the checkpoint: truth is for figures, and a stored run goes on where it is not known
        one = truth is None or truth.ndim == 1
        self.register_buffer("truth", truth if one else None, persistent=False)
        self.unit_truth = None if one else truth  # may be files
        # int32 holds any step and class, and keeps ten million rows below 300 MB
        for name, fill in (("label", -1), ("first_accepted", -1), ("flips", 0), ("seen", 0)):
            self.register_buffer(name, torch.full((n,), fill, dtype=torch.int32))
        for name in ("confidence", "margin"):
            self.register_buffer(name, torch.zeros(n))
        self.register_buffer("agreement", torch.full((n,), -1.0))
        self.register_buffer("accepted", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("units", None)  # made by the first sample that has several
        self.register_buffer("against", None)
        self.maps: Said | None = None
        self.originals: Callable[[], Original | None] | None = None
        self.task: Task | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        # a copy or a pickle is of what was said, and not of the run that can say more
        return {**self.__dict__, "maps": None, "originals": None}

    @torch.no_grad()
    def write(self, said: PseudoLabels, task: Task, step: int, view: View | None = None) -> dict[str, Tensor]:
        """Enter the pseudo-labels of one step.

        Args:
            said: The pseudo-labels.
            task: Of what they are.
            step: Counted from 0.
            view: On which they were made, of the same rows, into which masks and joints of the truth are carried;
                ``None``: of the image as it is.

        Returns:
            Figures of this batch: ``flip_rate``, ``confidence``, and, where there is a truth,
            ``pseudo_label_accuracy`` (of the accepted) and ``prediction_accuracy`` (of all); NaN where none is known.

        Raises:
            ValueError: for an agreement that is not one number a unit.
        """
        index, sure, accepted = said.index, task.confidence(said.value), said.weight > 0
        confidence, margin = _mean(sure), _mean(task.margin(said.value))
        # before the row is written: a flip needs the decision before, and the first look at a row is none
        # `index_select` and `index_copy_`: rows by their numbers alone, at half the time of an index of any kind
        seen, before = self.seen.index_select(0, index), self.first_accepted.index_select(0, index)
        known = seen > 0
        if task.one_unit:
            label = task.label(said.value).to(self.label)
            flipped = known & (self.label.index_select(0, index) != label)
        else:
            label = torch.full_like(seen, -1)
            flipped = torch.zeros_like(known)
            if hasattr(task, "units"):  # a task of the user's own may have none
                flipped = known & self._enter_units(index, task.units(said.value, sure, accepted), task)
            accepted = _mean(accepted) >= 0.5
        rows = {"flips": self.flips.index_select(0, index) + flipped, "label": label, "accepted": accepted}
        for name, values in (rows | {"seen": seen + 1, "confidence": confidence, "margin": margin}).items():
            kept: Tensor = getattr(self, name)
            kept.index_copy_(0, index, values.to(kept.dtype))
        self._agree(said)
        # the first time stays, however often the row is dropped and accepted again; the largest, as a batch may hold a
        # row twice
        now = torch.where(accepted & (before < 0), step, before)
        self.first_accepted.scatter_reduce_(0, index, now, "amax")
        # in the first epoch no row is known: a rate of 0, where 0 / 0 would spoil the means of the log
        figures = {"confidence": confidence.mean(), "flip_rate": flipped.float().sum() / known.sum().clamp(min=1)}
        return figures | (
            self._against_truth(index, label, accepted) if task.one_unit else self._judged(said, task, view)
        )

    def _enter_units(self, index: Tensor, units: Tensor, task: Task) -> Tensor:
        """Keep what is said of each class or joint, and tell which samples have changed."""
        if self.units is None:
            # half precision tells a share of one pixel in 4096 x 4096, and a place to a thousandth of the picture
            self.units = torch.zeros(len(self), *units.shape[1:], dtype=torch.float16, device=units.device)
        changed = task.changed(self.units[index].float(), units)
        self.units[index] = units.half()
        return changed

    def _judged(self, said: PseudoLabels, task: Task, view: View | None) -> dict[str, Tensor]:
        """Keep how right these masks or joints are by the truth, and tell what share of their units is."""
        if self.unit_truth is None or not hasattr(task, "units"):
            return {}
        target = task.encode(self.unit_truth[said.index.cpu()].to(said.value.device))
        target = target if view is None else task.warp(target, view)
        value, used = said.value, (said.weight > 0).float()
        if task.has_classes and value.shape[2:] != target.shape[2:]:  # smaller logits, as the loss takes them
            value, used = enlarged(value, target.shape[2:]), F.interpolate(used[:, None], target.shape[2:])[:, 0]
        known = (target.mask() * target.weight > 0).float()
        if task.has_classes:
            right = known * (task.label(value) == task.label(target.value))
        else:  # two of three are the truth
            right = known * task.agree(torch.stack([value, target.value, target.value]).float())[0]
        rows = []
        for counted in (known * used, known):
            shares = [task.units(of, counted, counted * right) for of in (value, target.value)]
            hit, (both, true) = shares[0][..., 2], (share[..., 1] for share in shares)
            rows.append(torch.stack([hit * shares[0][..., 0], both * shares[0][..., 0], true * shares[1][..., 0]], -1))
        found = torch.stack(rows, 1)
        if self.against is None:
            self.against = torch.zeros(len(self), *found.shape[1:], device=found.device)
        self.against[said.index] = found
        hits, counts = found[..., HIT].sum((0, 2)), found[..., SAID].sum((0, 2))
        return dict(zip(MAY_LACK, hits / counts, strict=True))  # NaN where nothing is known

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        # runs of one unit a sample have none, and those of before it was kept
        for name, dtype, axes in (("units", torch.float16, 3), ("against", torch.float32, 4)):
            found = state_dict.get(f"{prefix}{name}")
            if found is not None and (found.dtype, found.dim()) != (dtype, axes):
                raise ValueError(
                    f"{name} is a tensor of {found.dtype} with {found.dim()} axes, not of {dtype} with {axes}"
                )
            there = None if found is None else found.new_zeros(len(self), *found.shape[1:], device=self.seen.device)
            setattr(self, name, there)
        super()._load_from_state_dict(state_dict, prefix, *others)

    def _agree(self, said: PseudoLabels) -> None:
        if said.agreement is None:
            return
        if said.agreement.shape != said.weight.shape:
            shapes = tuple(said.agreement.shape), tuple(said.weight.shape)
            raise ValueError(f"agreement has shape {shapes[0]}, weight {shapes[1]}; give one number for each unit")
        self.agreement[said.index] = _mean(said.agreement)

    def _against_truth(self, index: Tensor, label: Tensor, accepted: Tensor) -> dict[str, Tensor]:
        if self.truth is None:
            return {}
        used, every = pseudo_label_accuracy(label, accepted, self.truth[index])
        return {"pseudo_label_accuracy": used, "prediction_accuracy": every}

    # -- figures ---------------------------------------------------------------------------------------------------
    def summary(self) -> dict[str, float]:
        """Figures of the whole book.

        Returns:
            ``coverage`` (share of samples ever labeled), ``accepted`` (share of those), ``flips`` a sample,
            ``largest_class`` and ``smallest_class`` (shares of the accepted; one near 1 or 0 that should not be is a
            collapse), ``agreement`` where members were asked and, where truth is known, the two accuracies (of pixels,
            or joints that are near enough: PCK), of masks ``pseudo_label_mean_iou`` (of the accepted pixels) and
            ``prediction_mean_iou``, of one unit ``calibration_error`` of the confidence.
        """
        seen = self.seen > 0
        if not bool(seen.any()):
            return {}
        rows = {
            "coverage": float(seen.float().mean()),
            "accepted": float(self.accepted[seen].float().mean()),
            "flips": float(self.flips[seen].float().mean()),
        }
        shares, asked = self.class_shares(), self.agreement >= 0
        if len(shares):
            rows |= {"largest_class": float(shares.max()), "smallest_class": float(shares.min())}
        if bool(asked.any()):
            rows["agreement"] = float(self.agreement[asked].double().mean())
        # rows that were never labeled have no decision to be right or wrong
        said = torch.nonzero(seen).squeeze(1)
        accuracy = self._against_truth(said, self.label[said], self.accepted[said]) if self.units is None else {}
        told = {name: float(value) for name, value in (accuracy | self._unit_accuracy()).items()}
        return rows | {name: value for name, value in told.items() if not math.isnan(value)} | self._calibration()

    def _unit_accuracy(self) -> dict[str, Tensor]:
        """Shares of units that are right, accepted ones and all, and mean IoU of masks."""
        if self.against is None or self.units is None:
            return {}
        hit, said, true = self.against.double().sum(0).unbind(-1)
        found = dict(zip(MAY_LACK, hit.sum(1) / said.sum(1), strict=True))
        if self.units.shape[2] == 3:  # joints have no area
            iou = (hit / (said + true - hit)).nanmean(1)  # of classes that occur in truth or pseudo-labels
            found |= {name.replace("accuracy", "mean_iou"): value for name, value in zip(MAY_LACK, iou, strict=True)}
        return found

    def _calibration(self) -> dict[str, float]:
        if self.truth is None or self.units is not None:
            return {}
        known = (self.seen > 0) & (self.truth >= 0)
        right = self.label[known] == self.truth[known]
        return {"calibration_error": expected_calibration_error(self.confidence[known], right)}

    def class_shares(self, *, accepted: bool = True) -> Tensor:
        """Share of each class, shape (classes,), sums to 1 (or all 0 if there is nothing); (0,) without classes.

        Args:
            accepted: Among the accepted units; else among all that were ever labeled.
        """
        if self.units is not None:
            kept = self.units[self.seen > 0].double()
            counts = kept[..., SHARE] * (kept[..., TAKEN] if accepted else 1)
            counts = counts.sum(0) if self.units.shape[2] == 3 else counts.new_zeros(0)  # joints are no classes
        else:
            # a class that no sample was taken for has a place all the same, with a share of 0
            rows = (self.accepted if accepted else self.seen > 0) & (self.label >= 0)
            counts = torch.bincount(self.label[rows].long(), minlength=len(self.classes))[: len(self.classes)]
        return counts / counts.sum().clamp(min=1e-12)

    def per_class(self, prior: Tensor | None = None) -> list[ClassRow]:
        """One row a class, in the order of the classes; none where there are no classes.

        Args:
            prior: Expected shares of the classes, shape (classes,), any scale; ``None``: not compared.

        Raises:
            ValueError: for a prior of another shape, negative or all 0.
        """
        if not len(self.classes) and self.units is None:
            return []
        expected = None if prior is None else self.checked_prior(prior).tolist()
        # a class that no sample was taken for gives 0 / 0: NaN, which _told makes None
        if self.units is None:
            count, accepted = self._per_label(self.seen > 0), self._per_label(self.accepted)
            sure, flips = (self._per_label(self.seen > 0, of) / count for of in (self.confidence, self.flips))
            precision, weight = self._precision(), accepted
        else:
            share, mean, taken = self.units[self.seen > 0].double().unbind(2)[:3]
            count, accepted = (share > 0).sum(0), ((share > 0) & (taken >= 0.5)).sum(0)
            sure, weight = (share * mean).sum(0) / share.sum(0), (share * taken).sum(0)
            flips = precision = torch.full_like(sure, math.nan)
            if self.against is not None:
                hit, said, _ = self.against[:, 0].double().sum(0).unbind(-1)
                precision = hit / said
        shares = (weight / weight.sum().clamp(min=1e-12)).tolist()
        columns = (count.int(), accepted.int(), sure, flips, precision)
        rows = zip(self.group_names, *(column.tolist() for column in columns), shares, strict=True)
        return [
            ClassRow(str(name), n, used, _told(p), _told(f), _told(right), share, _over(share, expected, i))
            for i, (name, n, used, p, f, right, share) in enumerate(rows)
        ]

    def _per_label(self, rows: Tensor, of: Tensor | None = None) -> Tensor:
        """Number of these rows with each label, or the sum of a column over them, shape (classes,)."""
        # bincount adds one by one: in float32 a sum over millions of rows stops growing
        weight = None if of is None else of[rows].double()
        sums = torch.bincount(self.label[rows].long().clamp(min=0), weight, minlength=len(self.classes))
        return sums[: len(self.classes)].double()

    def _precision(self) -> Tensor:
        if self.truth is None:
            return torch.full((len(self.classes),), math.nan)
        # rows of unknown truth would count as wrong
        known = self.accepted & (self.truth >= 0)
        return self._per_label(known & (self.label == self.truth)) / self._per_label(known)

    @property
    def group_names(self) -> Sequence[str]:
        """Names of the classes, or of the joints: ``joint 0`` and so on where they have none."""
        groups = len(self.classes) if self.units is None else self.units.shape[1]
        return self.classes if len(self.classes) == groups else [f"joint {i}" for i in range(groups)]

    def checked_prior(self, prior: Tensor) -> Tensor:
        """Expected shares of the classes, shape (classes,), as shares that sum to 1."""
        shares = torch.as_tensor(prior).detach().cpu().double()
        if shares.shape != (len(self.classes),):
            raise ValueError(f"the prior has shape {tuple(shares.shape)}; there are {len(self.classes)} classes")
        # the first comparison refuses NaN, the second one infinity
        if not (bool((shares >= 0).all()) and 0 < float(shares.sum()) < math.inf):
            raise ValueError(f"the prior is {shares.tolist()}; shares must be 0 or more, and not all 0")
        return shares / shares.sum()

    def doubt(self) -> Tensor:
        """Confidence of the class, or joint, of each sample that is least sure, (N,); of one unit its own.

        Classes with less than a hundredth of the pixels are left out, unless there is no other.
        """
        if self.units is None:
            return self.confidence
        share, sure = self.units[..., SHARE].float(), self.units[..., SURE].float()
        return sure.where(share >= share.amax(1, keepdim=True).clamp(max=0.01), 2.0).amin(1).clamp(max=1)

    def captions(self, index: Tensor) -> list[str]:
        """Short text for each of these rows: class, confidence in percent, ``*`` if accepted, ``!`` if known wrong.

        Of several units: their mean confidence, and the share of them that is accepted.
        """
        if self.units is not None:
            some = self.units[index].double()
            used = (some[..., SHARE] * some[..., TAKEN]).sum(1).tolist()
            pairs = zip(self.confidence[index].tolist(), used, strict=True)
            return [f"{100 * p:.0f}% sure, {100 * a:.0f}% used" for p, a in pairs]
        columns = (self.label, self.confidence, self.accepted)
        rows = zip(*(column[index].tolist() for column in columns), strict=True)
        texts = [f"{self._class(c)[:6] or c} {100 * p:.0f}%{'*' if a else ''}" for c, p, a in rows]
        if self.truth is None:
            return texts
        wrong = ((self.truth[index] >= 0) & (self.truth[index] != self.label[index])).tolist()
        return [f"!{text}" if w else text for text, w in zip(texts, wrong, strict=True)]

    # -- files -----------------------------------------------------------------------------------------------------
    def to_csv(self, path: str | Path) -> Path:
        """Write one row a sample, in the order of the data set: columns ``COLUMNS``.

        ``verdict`` and ``correction`` are empty: a person fills them in, and ``labels.review`` reads them. Text that a
        spreadsheet would run as a formula is prefixed by an apostrophe, which ``read`` takes away. The file appears
        whole or not at all.
        """
        return write_csv(path, COLUMNS, self._blocks())

    def to_masks(self, folder: str | Path, *, original: bool = False, overwrite: bool = False) -> Path:
        """Write the pseudo-labels of pixels or joints themselves, as what gave this ledger says them now.

        Masks: ``masks/NAME.png``, class numbers in a palette, 255 (void) where a pixel is not accepted, and
        ``confidence/NAME.png``, 0 to 255; NAME is the id without its ending, and pictures are as large as the network
        sees them. Joints: ``keypoints.json``, COCO with ``score`` and ``keypoint_scores``; one that is not accepted has
        visibility 0. ``labels.csv`` beside them is this ledger, for a review. Nothing is held in memory but one batch.

        Args:
            folder: Made if it is missing.
            original: Each mask (or place) as large as the file of its picture: probabilities are enlarged, and what was
                cut off is void. Without ``labels.csv``, as a review goes by what the network sees.
            overwrite: Replace files that are there.

        Raises:
            DataError: the ledger knows no units: it was read from a file, or a sample is one unit; or ``original``, and
                pictures are no files.
            RunFolderError: there are such files already.
        """
        if self.maps is None or self.task is None:
            raise DataError("this ledger cannot tell masks or joints; say run.label(data).to_masks(folder)")
        if self.task.one_unit:
            raise DataError("a sample has one label here, and neither mask nor joints; write ledger.to_csv(path)")
        of = self.originals() if original and self.originals is not None else None
        if original and of is None:
            raise DataError(
                "of which size pictures were is not known here: they are arrays, or boxes of others; leave original out"
            )
        found = write_maps(self.maps(), self.task, self.ids, self.group_names, folder, original=of, overwrite=overwrite)
        if not original:  # a review is about masks as the network sees them
            self.to_csv(found / "labels.csv")
        return found

    def to_parquet(self, path: str | Path) -> Path:
        """Write the same columns as Parquet; the file ends in ``.parquet``.

        Raises:
            ImportError: without pyarrow (``pip install 'selftrain[table]'``).
            ValueError: for another ending, by which ``read`` would take the file for CSV.
        """
        if Path(path).suffix.lower() != ".parquet":
            raise ValueError(f"{path} does not end in .parquet; name it so, or write CSV")
        return write_parquet(path, KINDS, self._blocks(), notes=[str(name) for name in self.classes])

    def to_pandas(self) -> Any:
        """The same columns as a pandas data frame, one row a sample; labels are class numbers, classes their names.

        Raises:
            ImportError: without pandas (``pip install 'selftrain[table]'``).
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError("a data frame needs pandas; install it with: pip install 'selftrain[table]'") from error
        return pandas.concat([pandas.DataFrame(dict(block)) for block in self._blocks()], ignore_index=True)

    @classmethod
    def read(cls, path: str | Path, classes: Sequence[str] | None = None, truth: Tensor | None = None) -> Ledger:
        """Read a ledger that ``to_csv`` or ``to_parquet`` wrote, equal to the one that was written.

        Verdicts and corrections are not read here, see ``selftrain.labels.review``.

        Args:
            path: The file; Parquet by its ending, else CSV.
            classes: Names of the classes; ``None``: those of the file. A CSV file only has the names of classes that
                were given to a sample; the others are called by their numbers.
            truth: As in the constructor.

        Raises:
            DataError: a file that cannot be read, or a cell out of its range; names line and value.
            ImportError: for Parquet without pyarrow.
        """
        ids, columns, names = read_columns(path, classes)
        if truth is not None and len(truth) != len(ids):
            raise DataError(f"{path} has {len(ids)} rows but there are {len(truth)} true labels; give one for each row")
        # made empty: the columns take the place of its tensors, and ids stay in their compact form
        ledger = cls([], names, truth)
        ledger.ids = ids
        for name in _STORED:
            setattr(ledger, name, torch.from_numpy(columns.pop(name)))
        return ledger

    def _blocks(self) -> Iterator[Mapping[str, Column]]:
        for start in range(0, max(1, len(self.label)), _ROWS):
            part = slice(start, start + _ROWS)
            parts = {name: getattr(self, name)[part].cpu().numpy() for name in _STORED}
            parts["first_accepted_step"] = parts.pop("first_accepted")
            # empty in the file: whoever averages the column must not count a -1
            parts["agreement"] = np.where(parts["agreement"] < 0, np.float32(np.nan), parts["agreement"])
            empty = [""] * len(parts["label"])
            texts = {"id": [str(i) for i in self.ids[part]], "verdict": empty, "correction": empty}
            texts["class"] = [self._class(label) for label in parts["label"].tolist()]
            yield {name: texts[name] if name in texts else parts[name] for name in COLUMNS}

    def _class(self, label: int) -> str:
        return str(self.classes[label]) if 0 <= label < len(self.classes) else ""


def _mean(unit: Tensor) -> Tensor:
    """(B, *U) -> (B,)."""
    return unit.float() if unit.dim() == 1 else unit.flatten(1).float().mean(1)


def _told(value: float) -> float | None:
    return None if math.isnan(value) else value


def _over(share: float, expected: Sequence[float] | None, place: int) -> float | None:
    return share / expected[place] if expected is not None and expected[place] > 0 else None
