"""All samples of one problem: labeled, unlabeled, validation and test, with the views that show them."""

from __future__ import annotations

import copy
import functools
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import numpy as np
import torch
from torch import Tensor

from selftrain import errors
from selftrain.arguments import bind, check
from selftrain.data.base.far import far_doubt
from selftrain.data.base.fitting import check_annotations, check_columns, check_samples, check_shapes, check_targets
from selftrain.data.base.form import Form
from selftrain.data.base.identity import identity_of_samples
from selftrain.data.base.joined import Joined, relabeled, with_labels
from selftrain.data.base.labels import Classes, NoLabel, ReadLabels, names_are_told, one_class, read_labels
from selftrain.data.base.maps import accepted_units
from selftrain.data.base.samples import Channels, Excerpt, Kind, Limits, Rows, Samples, Subset, to_one_length
from selftrain.data.base.sparse import dense_at_once, is_sparse, rows_in_memory
from selftrain.data.base.splits import Overlap, check_labels, split, warn_missing, warn_repeated
from selftrain.data.base.statistics import in_least_precision
from selftrain.data.base.summary import Summary, label_line, shown, some
from selftrain.data.base.units import by_class, read_units, rows_known, some_rows, unit_classes
from selftrain.data.encoded import EncodedSet, stored_features
from selftrain.data.loading.evaluation import Evaluation, check_annotated
from selftrain.data.loading.stream import PairedStream
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.features import FeatureViews
from selftrain.data.views.image import TensorViews
from selftrain.data.views.points import PointViews
from selftrain.data.views.series import SeriesViews
from selftrain.data.views.sparse import SparseViews
from selftrain.data.views.table import TableViews
from selftrain.errors import DataError, setting
from selftrain.types import Annotated, BatchPlan, Needs, plain_setting, plain_settings

_PARTS = ("labeled", "validation", "test")
GIVEN = "given:"  # before the id of a labeled sample in a review: the same ids may stand for unlabeled ones
_SET_OF = {"pile": "unlabeled"}
_ON_HOST, _ON_DEVICE = 2**26, 2**29  # bytes of an evaluation's batch where predictions have places
_EXCERPT = 2000  # unlabeled rows that figures without labels are made from


class HasCard(Protocol):
    """An encoder that knows how it wants its inputs."""

    def card(self, shape: Sequence[int]) -> Mapping[str, Any]:
        """``shape``, ``mean`` and ``std`` for inputs of a shape."""
        ...


class Pile:
    """Labeled, unlabeled, validation and test samples of one problem.

    Annotations with one number per sample are taken for classes and checked; others (masks, points) pass as they are.

    Args:
        labeled: Samples with annotations, or ``None`` (then only label-free learning is possible).
        unlabeled: Samples, or ``None``; annotations they may have are never read.
        validation: Samples with annotations to choose the best checkpoint on, or ``None``.
        test: Samples with annotations that only the final evaluation sees, or ``None``.
        classes: Names in the order of the class numbers, or a mapping between both; default: the numbers up to the
            largest label, or where fewer than half of them occur (ids) the numbers that occur.
        views: Maker of views; default: ``TensorViews()``, for tables ``TableViews()``, of sparse rows
            ``SparseViews()``, for series ``SeriesViews()`` (three axes; give clouds ``PointViews()``). Where it has no
            mean and std, those of the unlabeled samples (without any: of the labeled ones) are filled in.
        truth: Class of every unlabeled row where it is known, -1 elsewhere, (N,); or its mask or joints, all void or
            missing where they are not known. Read for monitoring only.
        source: Where the data are from, one line.

    Attributes:
        labeled, unlabeled, validation, test: The sets; an empty one is ``None``.
        gaps: Whether series hold NaN where nothing is: gaps, or behind the end of those that are shorter than others.
        encoding: How rows of a table became numbers, as a mapping (``TableEncoding.as_dict``); else ``None``.
        summary: What else its reader has to say: on labels, on the columns of a table, on what was left out.
        skipped: Files that were left out because they cannot be read, each with the reason.
        origin: How to read the data again: ``reader``, a function of ``selftrain.data``, its ``settings``, and what was
            ``reviewed`` since; ``None`` for arrays in memory.
        pairs: Classes or joints that are left and right of one another, by their numbers.
        domains: Where labeled and unlabeled samples are from, by part, see ``of_domains``; empty: nobody has said.
        skeleton: Pairs of joints that pictures of them draw lines between, by their numbers.
        encoder: Of which encoder the inputs are features, and how they were made (``encoded``); else ``None``.

    Raises:
        DataError: no samples at all, or a label outside the classes (row and value are named).

    Warns:
        UserWarning: a class without a label, by name; labels of one class only; ids that several samples have; numbers
            of rows, series or clouds that lie so far from all others of their column that they mark what is missing
            (-9999, 1e20), with their count.
    """

    def __init__(
        self,
        labeled: Samples | None,
        unlabeled: Samples | None,
        validation: Samples | None = None,
        test: Samples | None = None,
        *,
        classes: Classes | None = None,
        views: ViewMaker | None = None,
        truth: Tensor | None = None,
        source: str = "arrays",
    ) -> None:
        check_samples({"labeled": labeled, "unlabeled": unlabeled, "validation": validation, "test": test})
        self.labeled, self.unlabeled = labeled or None, unlabeled or None
        self.validation, self.test = validation or None, test or None
        for part in _PARTS:
            if getattr(self, part) is not None:
                check_annotated(part, getattr(self, part))
        reference = self.unlabeled or self.labeled
        if reference is None:
            raise DataError("the pile has neither labeled nor unlabeled samples; check where the data are read")
        # Nothing known is no truth: figures by it would be shares of no rows.
        truth = None if truth is None or self.unlabeled is None or bool((by_class(truth) < 0).all()) else truth
        if truth is not None and len(truth) != len(reference):
            raise DataError(f"{len(reference)} unlabeled samples but {len(truth)} true labels; give one for each")
        notes = self._number(classes, truth)
        self._check_unit_truth()
        sets = {part: getattr(self, part) for part in ("unlabeled", *_PARTS) if getattr(self, part) is not None}
        for part in [part for part in _PARTS if part in sets]:
            setattr(self, part, check_annotations(part, sets[part], self.classes))
        for part in ("unlabeled", "labeled"):
            if part in sets:
                warn_repeated(sets[part].ids, part)
        # by the unlabeled samples where there are any: they are the most, and no test row is among them
        self.views = (views or _default_views(reference)).fitted(reference)
        check_shapes(sets, self._seen)
        codes, points = getattr(self.views, "categorical", ()), isinstance(self.views, PointViews)
        doubt = far_doubt(list(sets.values()), codes, points=points)
        if doubt:
            warnings.warn(doubt, stacklevel=2)
        self.gaps = any(getattr(samples, "gaps", False) for samples in sets.values())
        self.source = source
        self.encoding: Mapping[str, Any] | None = None
        self.summary = Summary(labels=notes, doubts=[doubt] if doubt else [])
        self.skipped: Sequence[tuple[str, str]] = ()
        self.origin: dict[str, Any] | None = None
        self.domains: dict[str, frozenset[str]] = {}
        # of names that say left and right; a reader may know others
        self.pairs: Sequence[tuple[int, int]] = side_pairs([str(name) for name in self.classes])
        self.skeleton: Sequence[tuple[int, int]] = ()
        self.encoder: dict[str, Any] | None = None

    @classmethod
    @plain_settings
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        classes: Classes | None = None,
        no_label: NoLabel = -1,
        labels: int | None = None,
        validation: float | None = 0,
        overlap: Overlap = "exclude",
        seed: int = 0,
        ids: Sequence[str] | None = None,
        channels: Channels | None = None,
        limits: Limits | None = None,
        kind: Kind | None = None,
        views: ViewMaker | None = None,
        source: str = "arrays",
        truth: Any = None,
    ) -> Pile:
        """Make a pile from arrays.

        Args:
            x: Training inputs, as in ``ArraySet``, or a matrix of scipy.sparse (N, F), which stays sparse.
            y: Class numbers or names, shape (N,); -1, missing or masked = unlabeled. Or masks (N, H, W) of class
                numbers, 255 where a pixel has none (void), or joints (N, K, 2 or 3): x, y (in pixels, from 0, which is
                the center of the first) and whether it is known, NaN = missing; as an array, or a list of one for each
                row. ``None``, or nothing but void or missing, = unlabeled.
            x_test: Test inputs, or ``None``.
            y_test: Their classes, masks or joints.
            classes: As of ``Pile``; or names that occur in ``y``, default those that occur, sorted. Of joints: theirs.
            no_label: Values of ``y`` that mean unlabeled in place of -1, one or several; ``None``: only missing ones.
                Of masks: of pixels without label beside 255.
            labels: Use only so many labels, evenly over the classes; the others become ``truth``. ``None``: all.
            validation: Labels to hold back, as in ``split``.
            overlap: Whether labeled rows are also unlabeled ones, as in ``split``.
            seed: Key of the choice of labels.
            ids: Names of the training rows; default their numbers.
            channels: Where the channel axis is, as in ``ArraySet``.
            limits: Values of an image that mean black and white, as in ``ArraySet``.
            kind: ``"series"`` or ``"points"``, as in ``ArraySet``; ``None``: images or a table.
            views: Maker of views; default: the one for this kind of input.
            source: Where the data are from, one line.
            truth: What ``y`` hides, in the form of ``y``, of as many rows as you know it of: figures say how right
                pseudo-labels are by it, and nothing is learned from it. ``None``: what ``labels`` leaves out.

        Raises:
            DataError: inputs or labels that cannot be used; the message names row, value and remedy.
        """
        lone = [name for name, given in (("x_test", x_test), ("y_test", y_test)) if given is not None]
        if len(lone) == 1:
            missing = "y_test" if lone == ["x_test"] else "x_test"
            raise DataError(f"there is {lone[0]} but no {missing}; pass both, or leave out {lone[0]}")
        given = {"": (y, x), "test": (y_test, x_test), "truth": (truth, x)}
        every = {part: pair for part, pair in given.items() if pair[0] is not None}
        units = {part: read_units(*pair, no_label) for part, pair in every.items()}
        if units[""] is None:
            read = read_labels({part: labels for part, (labels, _) in every.items()}, classes, no_label)
        else:
            codes = {part: own for part, own in units.items() if own is not None}
            lone = [f"y_{part}" if part == "test" else part for part in every if part not in codes]
            if lone:
                raise DataError(f"y has a mask or joints for each row, and {lone[0]} has none; give both alike")
            read = ReadLabels(codes, unit_classes(list(codes.values()), classes))
        form: dict[str, Any] = {"channels": channels, "limits": limits, "kind": kind}
        training = rows_in_memory(x, read.codes[""], ids, **form)
        test = None if x_test is None else rows_in_memory(x_test, read.codes["test"], **form)
        to_one_length(training, test)
        # Clouds have three axes like series: the arrays alone do not tell.
        views = PointViews() if views is None and kind == "points" else views
        with names_are_told():
            pile = cls.from_samples(
                training,
                test,
                classes=read.classes,
                labels=labels,
                validation=validation,
                overlap=overlap,
                seed=seed,
                views=views,
                source=source,
                truth=read.codes.get("truth"),
            )
        # in place of what reading the numbers again says
        pile.summary = replace(pile.summary, labels=read.notes)
        return pile

    @classmethod
    @plain_settings
    def from_samples(
        cls,
        training: Samples,
        test: Samples | None = None,
        *,
        classes: Classes | None = None,
        labels: int | None = None,
        validation: float | None = 0,
        overlap: Overlap = "exclude",
        seed: int = 0,
        views: ViewMaker | None = None,
        source: str = "arrays",
        truth: Tensor | None = None,
    ) -> Pile:
        """Make a pile from one training set with class numbers (-1 = unlabeled), masks or joints (see ``from_arrays``).

        Arguments as there.
        """
        if training.annotations is None:
            raise DataError("the training samples have no annotations; give class numbers, -1 where unlabeled")
        sets = {"": training} if test is None or test.annotations is None else {"": training, "test": test}
        known = {part: samples.annotations for part, samples in sets.items() if samples.annotations is not None}
        one_label = training.annotations.ndim == 1
        if one_label:
            read = read_labels(known, classes)
        else:
            read = ReadLabels(known, unit_classes(list(known.values()), classes))
        sets = {part: relabeled(samples, read.codes[part]) for part, samples in sets.items()}
        training, test, annotations = sets[""], sets.get("test", test), by_class(read.codes[""])
        # of masks and joints all that a choice goes by is whether a row has any
        of_split = read.classes if one_label else None
        parts = split(annotations, labels, classes=of_split, validation=validation, seed=seed, overlap=overlap)
        with names_are_told():
            pile = cls(
                Subset(training, parts.labeled),
                # Without annotations: what trains cannot read a hidden label, not even by mistake.
                Subset(training, parts.unlabeled, annotated=False),
                Subset(training, parts.validation),
                test,
                classes=read.classes,
                views=views,
                truth=rows_known(truth, read.codes[""], parts.unlabeled),
                source=source,
            )
        pile.summary = replace(pile.summary, labels=read.notes)
        return pile

    @property
    def form(self) -> Form:
        """How inputs were given, so that others are read alike: ``selftrain.data.readers.raw.read_raw``."""
        if self.encoder is not None:
            return self.encoder["form"]  # type: ignore[no-any-return]
        reference: Any = self.unlabeled or self.labeled
        shape = tuple(reference.images(np.zeros(1, np.int64)).shape[1:])
        kind: Any = {1: "table", 2: "series", 3: "image"}[len(shape)]
        base: Any = reference
        while isinstance(base, Subset | Joined):
            base = base.base if isinstance(base, Subset) else base.first
        of_files = ("mode", "size", "fit") if getattr(base, "pictures", True) else ()
        names = {"image": ("channels", "limits", *of_files), "series": ("channels",)}.get(kind, ())
        given = {name: getattr(base, name) for name in names if getattr(base, name, None) is not None}
        given |= {"gaps": True} if self.gaps else {}
        return Form("points" if isinstance(self.views, PointViews) else kind, shape, **given, table=self.encoding)

    def card(self) -> dict[str, Any]:
        """What a plain input is: ``shape``, and ``mean`` and ``std`` of its normalization (``None``: there is none).

        Rows of a table that was encoded also have ``table``: how, for ``TableEncoding.from_dict``.
        """
        reference = self.unlabeled or self.labeled
        assert reference is not None  # __init__ refuses a pile without samples
        # measured, not computed: any maker of views may change the shape
        plain = self.views("plain", reference.images(np.arange(1)), torch.zeros(1, dtype=torch.long), 0).x
        card: dict[str, Any] = {"shape": list(plain.shape[1:])}
        for key in ("mean", "std"):
            value = getattr(self.views, key, None)
            card[key] = None if value is None else torch.as_tensor(value).flatten().tolist()
        return card if self.encoding is None else card | {"table": dict(self.encoding)}

    def normalized_as(self, card: Mapping[str, Any] | HasCard) -> Pile:
        """The same pile with the normalization that an encoder was trained with; itself where neither has one (clouds).

        Features of an encoder on inputs of another size or scale understate it by far (Corley et al. 2023,
        arXiv:2305.13456).

        Args:
            card: ``read_card(run_folder)["input"]``, or another mapping with ``shape``, ``mean`` and ``std``; or an
                encoder that has one, as ``selftrain.pretrained`` gives it.

        Raises:
            DataError: if inputs have another shape, or the views of this pile take no normalization.
        """
        own = self.card()["shape"]
        card = card if isinstance(card, Mapping) else card.card(own)
        wanted = list(card["shape"])
        if wanted != own:
            rows = f"learn both from the same columns (the same {setting('label')} and {setting('columns')})"
            remedy = rows if len(wanted) == 1 else "resize the data first"
            raise DataError(f"inputs are {own}, the encoder was trained on {wanted}; {remedy}")
        if not (hasattr(self.views, "mean") and hasattr(self.views, "std")):
            if card["mean"] is None and card["std"] is None:
                return self
            raise DataError(f"{type(self.views).__name__} take no mean and std; normalize the data before")
        changed = copy.copy(self)
        changed.views = copy.copy(self.views)
        try:
            given = (
                None if card[key] is None else torch.as_tensor(card[key], dtype=torch.float64)
                for key in ("mean", "std")
            )
            for key, tensor in zip(("mean", "std"), in_least_precision(*given), strict=True):
                like = getattr(self.views, key)
                # The card has flat lists, a maker keeps its own shape, such as (C, 1, 1).
                setattr(changed.views, key, tensor if tensor is None or like is None else tensor.reshape(like.shape))
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"mean and std of the card do not fit inputs of shape {own}: {error}; take the card of another copy"
            ) from error
        return changed

    def encoded(
        self,
        encoder: Any,
        *,
        views: int = 4,
        cache: str | Path | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        progress: bool | None = None,
    ) -> Pile:
        """The same problem on the features of an encoder that stays as it is, computed once.

        Labels, ids and truth stay. Every strategy, evaluation, probe and graph then works on rows of features; their
        network is ``selftrain.networks.by_name.PlainEncoder`` with a linear head, or any one for tables. The features
        are those of the encoder at rest, of inputs that are normalized as it has learned.

        Args:
            encoder: Of ``selftrain.pretrained``, or a ``selftrain.networks.foundation.Foundation`` around another.
            views: Weak views of each row that are computed beside the plain one, and as many strong ones, of the maker
                of views of this pile; each step sees one of them. 0: plain features alone.
            cache: Folder where features are kept, each file under a name made of weights, data and views; ``None``:
                the one that the encoder was given, else they are computed anew and kept in memory. What was computed
                before an interrupt is found there too.
            seed: Key of the draws of the views.
            device: Where to compute; ``None``: where the encoder is.
            progress: Whether to show a bar; ``None``: if standard error is a terminal.

        Raises:
            DataError: masks or joints, which one row of features does not tell; inputs that the encoder cannot read.
            ValueError: a negative number of views.
        """
        if views < 0:
            raise ValueError(f"views is {views}; it must be 0 or more")
        sets: dict[str, Samples] = {p: s for p in ("unlabeled", *_PARTS) if (s := getattr(self, p)) is not None}
        for part, samples in sets.items():
            if samples.annotations is not None and samples.annotations.ndim != 1:
                raise DataError(f"the {part} samples have masks or joints; features are one row a sample: fine-tune it")
        shown = self if encoder.mean is None else self.normalized_as(encoder)
        before, cache = next(encoder.parameters(), torch.empty(0)).device, cache or encoder.cache
        where = before if device is None else torch.device(device)
        training = encoder.training
        encoder.to(where).eval()
        changed, origins = copy.copy(shown), {part: _origin(samples) for part, samples in sets.items()}
        with torch.no_grad():
            # rows of one set are encoded together: a set that another draw of labels divides otherwise is the same file
            for root in {id(root): root for root, _ in origins.values()}.values():
                parts = [part for part, (own, _) in origins.items() if own is root]
                rows = np.unique(np.concatenate([origins[part][1] for part in parts]))
                looks = views if {"labeled", "unlabeled"} & set(parts) else 0  # who is only judged is seen plainly
                own = shown.views.seeded(seed)
                features = stored_features(
                    encoder, root, rows, own, looks, device=where, cache=cache, progress=progress
                )
                for part in parts:
                    places, told = np.searchsorted(rows, origins[part][1]), (sets[part].annotations, sets[part].ids)
                    setattr(changed, part, EncodedSet(features, places, *told, looks=1 + 2 * views))
        encoder.to(before).train(training)
        changed.views = FeatureViews().fitted(changed.unlabeled or changed.labeled)  # type: ignore[arg-type]
        changed.encoding, changed.source = None, f"{self.source}, encoded by {encoder.name}"
        settings = {"name": encoder.name, "size": encoder.size, "key": encoder.key(), "base": self.views}
        settings |= {"shape": shown.card()["shape"], "form": shown.form}
        changed.encoder = settings | {"views": views, "cache": cache and str(cache), "seed": seed}
        return changed

    def stream(self, needs: Needs, plan: BatchPlan, device: torch.device) -> PairedStream:
        """The training batches of a strategy.

        Raises:
            DataError: the strategy needs labels and there are none; or views mirror classes or joints that are left and
                right of one another by their names, and the task does not know.

        Warns:
            UserWarning: the strategy asks for unlabeled views and there are no unlabeled samples.
        """
        if needs.encode is not None and (needs.no_labels is None or self.labeled is not None):
            self.require_labels()
        if needs.encode is None and self.unlabeled is None:
            raise DataError("no unlabeled samples to learn from without labels; pass labeled images as unlabeled too")
        if needs.views and self.unlabeled is None:
            # no error: a strategy is compared with itself without a pile
            warnings.warn("no unlabeled samples: training is supervised only", stacklevel=2)
        if needs.places and not needs.sides and needs.encode is not None and getattr(self.views, "mirrors", False):
            _refuse_sides([str(name) for name in self.classes])
        for part in _PARTS:
            samples: Samples | None = getattr(self, part)
            if needs.encode is not None and samples is not None and samples.annotations is not None:
                size = samples.images(np.zeros(1, np.int64)).shape[2:]
                check_targets(part, samples.annotations, needs.encode, self.classes, size)
        return PairedStream(self.labeled, self.unlabeled, self.views, needs, plan, device)

    def _seen(self, part: str, inputs: Tensor) -> Tensor:
        """What a network is shown of inputs of a part."""
        name = "plain" if part in ("validation", "test") else "weak"
        return self.views(name, inputs, torch.zeros(len(inputs), dtype=torch.long), 0).x

    def evaluation(self, part: object, batch_size: int, device: torch.device) -> Iterable[Annotated] | None:
        """Plain samples with annotations.

        Args:
            part: ``"labeled"``, ``"validation"``, ``"test"``, or a set with annotations; ``"unlabeled"`` gives up to
                2,000 rows, evenly spaced, with annotation -1, for figures that need no labels, ``"pile"`` all of them
                in order.
            batch_size: Samples a batch, > 0; the last batch may be smaller. Where labels are masks or joints all are,
                if inputs and probabilities of so many would take more than 64 MiB (512 MiB on an accelerator).
            device: Where batches go.

        Returns:
            Batches, iterable any number of times; ``None`` when the part is empty.

        Raises:
            ValueError: an unknown part.
            DataError: the set has no annotations, or a label outside the classes.
        """
        if isinstance(part, str) and part not in ("unlabeled", "pile", *_PARTS):
            raise ValueError(f"no part {part!r}; known are unlabeled, pile, {', '.join(_PARTS)}, or pass a set")
        samples: object = getattr(self, _SET_OF.get(part, part)) if isinstance(part, str) else part
        if samples is None:
            return None
        if not isinstance(samples, Samples):
            raise ValueError(f"{type(samples).__name__} is no set of samples; pass one, or {', '.join(_PARTS)}")
        if not len(samples):
            return None
        if not isinstance(part, str):
            self._check_given(samples)
        if isinstance(part, str) and part in ("unlabeled", "pile"):
            # figures that need no labels are stable on two thousand rows, and asked for often
            samples = Excerpt(samples, _EXCERPT if part == "unlabeled" else len(samples))
        at_once = self._places_at_once(samples, dense_at_once(samples, batch_size), device)
        return Evaluation(samples, self.views, at_once, device)

    def _places_at_once(self, samples: Samples, most: int, device: torch.device) -> int:
        """How many of ``samples`` are asked at a time: ``most``, or what fits where each has a prediction a pixel."""
        known = [one.annotations for one in (self.labeled, self.validation, self.test) if one is not None]
        if not any(one is not None and one.ndim > 1 for one in known):
            return most
        channels, *size = samples.images(np.zeros(1, np.int64)).shape[1:]
        numbers = (channels + max(1, len(self.classes))) * math.prod(size)
        return max(1, min(most, (_ON_HOST if device.type == "cpu" else _ON_DEVICE) // (4 * numbers)))

    def fingerprint(self) -> dict[str, Any]:
        """What tells the samples that training reads from others, by part: see ``data.base.identity``."""
        parts = {"labeled": self.labeled, "unlabeled": self.unlabeled, "validation": self.validation}
        return {part: None if samples is None else identity_of_samples(samples) for part, samples in parts.items()}

    def require_labels(self) -> None:
        """Refuse a pile without any label, or with a single class, and say what its reader knows of that.

        Raises:
            DataError: no sample has a label, or all have the same.
        """
        if self.labeled is None:
            why = "".join(f": {note}" for note in self.summary.labels)
            raise DataError(
                f"no sample has a label{why}; learn without labels first: see selftrain.pretrain, or start from a run "
                f"that has learned the task ({'--init_from RUN' if errors.as_options else 'pretrain=RUN'})"
            )
        if len(self.classes) == 1 and _labels_of(self.labeled) is not None:
            raise DataError(f"{one_class(self.classes[0])}, or learn without labels: see selftrain.pretrain")

    def unlabeled_ids(self) -> Sequence[str]:
        """A stable name for every unlabeled row."""
        return [] if self.unlabeled is None else self.unlabeled.ids

    def review_ids(self) -> frozenset[str]:
        """Ids that a review may be about: those of unlabeled samples, and of labeled ones after ``given:``."""
        labeled = [] if self.labeled is None else self.labeled.ids
        return frozenset([*map(str, self.unlabeled_ids()), *(f"{GIVEN}{name}" for name in labeled)])

    def unlabeled_truth(self) -> Tensor | None:
        """Class of every unlabeled row where it is known, -1 elsewhere, (N,); ``None`` when none is known.

        Of masks and joints those of every unlabeled row, all void or missing where they are not known; masks of files
        are read when rows are asked for.
        """
        return self._truth

    def reviewed(self, review: Mapping[str, Any]) -> Pile:
        """A pile that keeps to a person's decisions, whatever strategy learns from it; this one stays as it is.

        Accepted and corrected samples become labeled ones: no strategy asks for them, relabels them or lists them in
        its ledger. Rejected ones leave the unlabeled set. Order, ids, truth and normalization of all others stay.

        Args:
            review: Class number of each sample decided on, by id; -1: rejected. As
                ``selftrain.labels.review.read_review`` reads it from a ledger's file, which of masks and joints tells
                where they are. An id after ``given:`` is that of a labeled sample, as the page of given labels writes
                it: its label is replaced, or the sample left out.

        Raises:
            DataError: an id that no such sample has, or several have; a class outside ``classes``; a class where
                the annotations are masks or points, or the reverse; a mask that cannot be read.
        """
        if not isinstance(review, Mapping):
            raise DataError(
                f"{review!r} is no review; read it first: selftrain.labels.review.read_review(path, pile.classes)"
            )
        about_given = {str(name).removeprefix(GIVEN): to for name, to in review.items() if str(name).startswith(GIVEN)}
        if about_given:
            others = {name: to for name, to in review.items() if not str(name).startswith(GIVEN)}
            return self._corrected(about_given).reviewed(others)
        rows, labels = self._decided(review)
        if not len(rows) or self.unlabeled is None:
            return self._with(self.labeled, self.unlabeled, self._truth, self.source)
        # Ascending: rows that stay keep their order, by which ids and truth belong to them.
        stays = np.setdiff1d(np.arange(len(self.unlabeled)), rows)
        known = labels >= 0
        labeled = self.labeled
        if known.any():
            told = [review[self.unlabeled.ids[row]] for row in rows[known]]
            size = tuple(self.unlabeled.images(np.zeros(1, np.int64)).shape[2:])
            one = isinstance(told[0], Mapping)
            given = accepted_units(told, size) if one else torch.from_numpy(labels[known])  # type: ignore[arg-type]
            labeled = with_labels(self.labeled, Subset(self.unlabeled, rows[known], annotated=False), given)
        source = f"{self.source}; reviewed: {known.sum()} labels, {(~known).sum()} rejected"
        truth = None if self._truth is None else some_rows(self._truth, stays)
        other = self._with(labeled, Subset(self.unlabeled, stays, annotated=False), truth, source)
        # A run that is opened again reads its data again: without these decisions they would be other data.
        if other.origin is not None:
            other.origin = other.origin | {"reviewed": [*other.origin.get("reviewed", ()), dict(review)]}
        return other

    def of_domains(self, labeled: str | Sequence[str], unlabeled: str | Sequence[str]) -> Pile:
        """The same pile that knows of which domains its samples are, such as a simulator and a camera.

        Nothing is trained otherwise: ``fit`` and the check of the data warn where BatchNorm would take both domains in
        one pass.

        Args:
            labeled: A name for all labeled samples, or one for each of them.
            unlabeled: The same of the unlabeled ones.

        Raises:
            DataError: another number of names than samples.
        """
        other, given = copy.copy(self), {"labeled": labeled, "unlabeled": unlabeled}
        for part, names in given.items():
            rows = len(getattr(self, part) or ())
            if not isinstance(names, str) and len(names) != rows:
                raise DataError(
                    f"{len(names)} domains for {rows} {part} samples; give one for each, or one name for all of them"
                )
        other.domains = {part: frozenset([n] if isinstance(n, str) else n) for part, n in given.items()}
        return other

    @property
    def shifted(self) -> str:
        """That labeled and unlabeled samples are of different domains, in words; empty: nobody has said so."""
        labeled, unlabeled = (sorted(self.domains.get(part, ())) for part in ("labeled", "unlabeled"))
        if labeled == unlabeled or not (self.labeled and self.unlabeled):
            return ""
        return f"labeled samples are of {', '.join(labeled)} and unlabeled ones of {', '.join(unlabeled)}"

    def without_labels(self, rows: Rows) -> tuple[Pile, Samples]:
        """The same problem without some labeled samples, and these as a set of their own.

        Args:
            rows: Numbers of labeled samples; not all.

        Raises:
            DataError: there is nothing to learn from without them.
        """
        assert self.labeled is not None
        stays = np.setdiff1d(np.arange(len(self.labeled)), rows)
        if not len(stays):
            raise DataError(f"all {len(self.labeled)} labels were to be left out; keep some")
        rest = self._with(Subset(self.labeled, stays), self.unlabeled, self._truth, self.source)
        return rest, Subset(self.labeled, rows)

    def numbered_as(self, classes: Sequence[str]) -> Pile:
        """The same data with labels that are numbered by another list of classes.

        Raises:
            DataError: a class that is not in the list.
        """
        if list(self.classes) == list(classes):
            return self
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise DataError(f"{self.source} has a class {unknown[0]!r}; the run knows {', '.join(classes)}")
        place = {name: i for i, name in enumerate(classes)}
        number = torch.tensor([place[name] for name in self.classes])
        other = copy.copy(self)
        other.classes = list(classes)
        other.pairs = [(int(number[left]), int(number[right])) for left, right in self.pairs]
        for part in ("labeled", "unlabeled", "validation", "test"):
            samples = getattr(self, part)
            if samples is not None and samples.annotations is not None:
                # A set of its own: the numbers of this pile's sets stay.
                changed = Subset(samples, np.arange(len(samples)))
                changed.annotations = _renumbered(samples.annotations, number)
                setattr(other, part, changed)
        other._truth = None if self._truth is None else _renumbered(self._truth, number)
        return other

    def summary_lines(self) -> list[str]:
        """What was read, in lines: parts, classes with their counts, columns, what was left out."""
        annotations = None if self.labeled is None else self.labeled.annotations
        labels = label_line(annotations, self.classes, len(self.unlabeled or ()), self.summary.labels)
        names = [shown(str(name)) for name in self.classes]
        sides = [f"{names[left]} and {names[right]}" for left, right in self.pairs if names]
        told = annotations is not None and annotations.ndim > 1 and sides
        swapped = [f"sides      {some(sides)}: change places in mirror images"] if told else []
        return [f"data       {self}", labels, *swapped, f"inputs     {self._inputs()}", *self.summary.lines()]

    def _inputs(self) -> str:
        """What one sample is, in words."""
        first = (self.unlabeled or self.labeled).images(np.zeros(1, np.int64))  # type: ignore[union-attr]
        kind = {2: "rows", 3: "series", 4: "images"}.get(first.ndim, "arrays")
        kind = "points" if isinstance(self.views, PointViews) else "features" if self.encoder else kind
        gaps = ", shorter ones and gaps are NaN" if self.gaps else ""
        return f"{kind} of {'x'.join(map(str, first.shape[1:]))} {str(first.dtype).removeprefix('torch.')}{gaps}"

    def __repr__(self) -> str:
        sizes = {part: len(getattr(self, part) or ()) for part in ("labeled", "unlabeled", *_PARTS[1:])}
        counts = ", ".join(f"{size:,} {part}" for part, size in sizes.items())
        reference = self.unlabeled or self.labeled
        shape = "" if reference is None else "x".join(map(str, reference.images(np.zeros(1, np.int64)).shape[1:]))
        return f"Pile({counts}; {len(self.classes)} classes; inputs {shape}; from {self.source})"

    def _check_given(self, samples: Samples) -> None:
        """Refuse a set of the user's that has other columns, or numbers that are no classes here."""
        reference = self.labeled or self.unlabeled
        assert reference is not None  # __init__ refuses a pile without samples
        check_columns(samples, reference)
        labels = _labels_of(samples)
        if labels is not None:
            check_labels(labels, self.classes)  # numbers with gaps are mapped in the sets of this pile

    def _number(self, classes: Classes | None, truth: Tensor | None) -> Sequence[str]:
        """Read the labels of all parts as class numbers, and say what there is to say of them."""
        known = {p: labels for p in _PARTS if (labels := _labels_of(getattr(self, p))) is not None}
        classed = truth is not None and truth.ndim == 1
        read = read_labels(known | {"truth": truth} if classed else known, classes)
        self.classes: Sequence[str] = read.classes
        for part in known:
            _refuse_hidden(part, read.codes[part])
            setattr(self, part, relabeled(getattr(self, part), read.codes[part]))
        self._truth: Tensor | None = read.codes["truth"] if classed else truth
        if "labeled" in known:
            warn_missing(read.codes["labeled"], self.classes)
        return read.notes

    def _check_unit_truth(self) -> None:
        """Refuse masks and joints as truth that do not fit the pictures, or what the labeled samples have."""
        known = None if self.labeled is None else self.labeled.annotations
        if self._truth is None or self.unlabeled is None:
            return
        if known is not None and known.shape[1:][-2:] != self._truth.shape[1:][-2:]:  # weights may lie behind masks
            shapes = tuple(self._truth.shape), tuple(known.shape)
            raise DataError(f"the truth has shape {shapes[0]} and the labels have {shapes[1]}; give both in one form")
        self._truth = check_annotations("truth", relabeled(self.unlabeled, self._truth), self.classes).annotations

    def _with(self, labeled: Samples | None, unlabeled: Samples | None, truth: Tensor | None, source: str) -> Pile:
        """The same problem with other training samples."""
        # views are fitted already, so that the normalization stays that of the whole pile
        held_out = self.validation, self.test
        other = Pile(labeled, unlabeled, *held_out, classes=self.classes, views=self.views, truth=truth, source=source)
        other.encoding, other.skipped, other.origin = self.encoding, self.skipped, self.origin
        other.encoder, other.pairs, other.domains = self.encoder, self.pairs, self.domains
        other.skeleton = self.skeleton
        other.summary = self.summary
        return other

    def _corrected(self, review: Mapping[str, int]) -> Pile:
        """A pile whose given labels keep to a person's decisions."""
        ids = [] if self.labeled is None else [str(name) for name in self.labeled.ids]
        counts = Counter(ids)
        wrong = next((name for name in review if counts[name] != 1), None)
        if wrong is not None:
            many = f"{counts[wrong]} labeled samples have" if counts[wrong] else "no labeled sample has"
            raise DataError(f"{many} the id {wrong!r}; apply a review of given labels to the pile that it is of")
        assert self.labeled is not None
        given = check_labels(self.labeled.annotations)
        labels = torch.tensor([review.get(name, int(label)) for name, label in zip(ids, given, strict=True)])
        if int(labels.max()) >= len(self.classes) or int(labels.min()) < -1:
            raise DataError(f"the review has classes up to {int(labels.max())}; expected 0 to {len(self.classes) - 1}")
        kept = torch.nonzero(labels >= 0).squeeze(1)
        if not len(kept):
            raise DataError("the review rejects all labels; keep some")
        changed = int((labels[kept] != given[kept]).sum())
        labeled = relabeled(Subset(self.labeled, kept.numpy()), labels[kept])
        source = f"{self.source}; given labels reviewed: {changed} corrected, {len(ids) - len(kept)} rejected"
        other = self._with(labeled, self.unlabeled, self._truth, source)
        if other.origin is not None:
            again = {f"{GIVEN}{name}": to for name, to in review.items()}
            other.origin = other.origin | {"reviewed": [*other.origin.get("reviewed", ()), again]}
        return other

    def _decided(self, review: Mapping[str, Any]) -> tuple[Rows, Rows]:
        """Unlabeled rows that were decided on, ascending, and the class of each; 0 of masks and joints."""
        ids = self.unlabeled_ids()
        rows = [row for row, name in enumerate(ids) if name in review]
        found = [ids[row] for row in rows]
        counts = Counter(found)
        missing = next((name for name in review if name not in counts), None)
        if missing is not None:
            raise DataError(
                f"no unlabeled sample has the id {missing!r}; apply a review to the pile its ledger is about"
            )
        double = next((name for name, count in counts.items() if count > 1), None)
        if double is not None:  # a decision must be about one sample
            raise DataError(f"{counts[double]} unlabeled samples have the id {double!r}; give each an id of its own")
        sets = [getattr(self, part) for part in _PARTS]
        classified = all(s is None or s.annotations is None or s.annotations.ndim == 1 for s in sets)
        units = [name for name in found if isinstance(review[name], Mapping)]
        if units and (classified and any(getattr(s, "annotations", None) is not None for s in sets)):
            raise DataError(
                f"sample {units[0]!r} is reviewed as a mask or joints, and labels here are classes; apply the "
                "review to the pile its ledger is about"
            )
        labels = [0 if isinstance(review[name], Mapping) else review[name] for name in found]
        if units:
            return np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int64)
        for name, label in zip(found, labels, strict=True):
            if not -1 <= label < len(self.classes):
                raise DataError(
                    f"sample {name!r} is reviewed as class {label}, outside the {len(self.classes)} classes (0 to "
                    f"{len(self.classes) - 1}); correct it, or add the class to the pile"
                )
            if label >= 0 and not classified:
                raise DataError(
                    f"sample {name!r} is reviewed as {self.classes[label]!r}, but annotations here are no classes "
                    "(masks or points); reject it, or accept it in the file beside what run.ledger.to_masks wrote"
                )
        return np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int64)


def _origin(samples: Samples) -> tuple[Samples, Rows]:
    """The set that rows are from, through subsets of subsets, and their numbers there."""
    rows: Rows = np.arange(len(samples))
    while isinstance(samples, Subset):
        rows, samples = samples.rows[rows], samples.base
    return samples, rows


_Settings = ParamSpec("_Settings")
_PLACES = {"path", "folder", "table", "root", "test", "labels_csv", "validation", "unlabeled", "encoding", "parts"}
_PLACES |= {"images", "masks", "weights", "joints", "truth"}


def readable_again(reader: Callable[_Settings, Pile]) -> Callable[_Settings, Pile]:
    """A reader whose piles know their ``origin``; paths in it do not depend on the working directory."""

    @functools.wraps(reader)
    def read(*values: _Settings.args, **settings: _Settings.kwargs) -> Pile:
        # Here, not by the decorator of other doors: the command line resolves hints by the module of the outermost one.
        bound = bind(reader, values, settings, reader.__name__)
        given = bound.arguments
        given |= {name: plain_setting(value) for name, value in given.items()}
        check(reader, given)
        pile = reader(*bound.args, **bound.kwargs)
        placed = {name: _absolute(value) if name in _PLACES else value for name, value in given.items()}
        pile.origin = {"reader": f"{reader.__module__}:{reader.__name__}", "settings": placed}
        return pile

    return read


def _absolute(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _absolute(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_absolute(inner) for inner in value]
    there = isinstance(value, (str, os.PathLike)) and Path(value).exists()
    return str(Path(value).resolve()) if there else value


def _renumbered(labels: Tensor, number: Tensor) -> Tensor:
    """Class numbers by another list; -1 and void pixels of a mask stay, and so do joints."""
    if labels.is_floating_point():
        return labels
    if labels.ndim == 4:  # behind each mask its weights
        return torch.stack([_renumbered(labels[:, 0], number), labels[:, 1]], 1)
    if labels.dtype == torch.uint8 and len(number) <= 256:  # by a table, of which numpy finds bytes
        table = np.arange(256, dtype=np.uint8)
        table[: len(number)] = number.numpy()
        return torch.from_numpy(table[labels.numpy()])
    labels = labels.long()  # bytes would be taken for a mask of `number`
    known = (labels >= 0) & (labels < len(number))
    # Void pixels and -1 are no places in `number`: -1 would even be taken for the last class.
    return torch.where(known, number[labels.where(known, 0)], labels)


def _labels_of(samples: Samples | None) -> Tensor | None:
    """Class numbers of a set; ``None`` where there are none."""
    known = None if samples is None else samples.annotations
    return known if known is not None and known.ndim == 1 else None


def _refuse_hidden(part: str, labels: Tensor) -> None:
    hidden = (labels < 0).nonzero()
    if len(hidden):
        row = int(hidden[0])
        raise DataError(f"label -1 at row {row} of the {part} samples means unlabeled; give its class or leave it out")


def side_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Classes or joints of which one is called like the other with left for right."""
    known = {name.lower(): number for number, name in enumerate(names)}
    others = {number: known.get(name.replace("left", "right")) for name, number in known.items() if "left" in name}
    return [(left, right) for left, right in others.items() if right is not None]


def _refuse_sides(names: list[str]) -> None:
    """Refuse names of sides where views are mirrored and nothing is swapped."""
    pairs = side_pairs(names)
    if pairs:
        left, right = pairs[0]
        raise DataError(
            f"views are mirrored, and {names[left]!r} would be learned as {names[right]!r}: give the task "
            f"pairs={pairs} (or pairs=() where sides stay), or views that do not mirror: "
            "views=TensorViews(Weak(flip=False))"
        )


def _default_views(samples: Samples) -> ViewMaker:
    """Views for inputs of this many axes; three are taken for series (B, C, L), point clouds must say otherwise."""
    axes = samples.images(np.zeros(1, np.int64)).ndim
    if axes == 2:
        return SparseViews() if is_sparse(samples) else TableViews()
    return SeriesViews() if axes == 3 else TensorViews()
