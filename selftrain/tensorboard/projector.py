"""The embedding projector: features of samples with thumbnails and labels, as files that TensorBoard reads."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.storage.atomic import whole_file, write_text
from selftrain.storage.run_dir import PROJECTOR, PROJECTOR_CONFIG
from selftrain.strategy.base import Strategy
from selftrain.tensorboard.tiles import SMALL, tiles
from selftrain.types import Annotated

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Points:
    """Samples in the space of features.

    Attributes:
        features: Shape (N, D), D >= 1.
        pictures: Thumbnails (N, 3, h, w) in [0, 1], or none (0, ...).
        labels: What is known of each sample, by the name of the column, each of length N.
    """

    features: Tensor
    pictures: Tensor
    labels: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.features)


@torch.no_grad()
def points(
    strategy: Strategy, batches: Iterable[tuple[str, Annotated]], classes: Sequence[str], *, decides: bool
) -> Points | None:
    """Features, thumbnails and labels of samples; ``None`` without samples.

    Args:
        strategy: Features are what enters the last linear layer that its ``predict`` runs; where there is none, or it
            decides nothing, what it returns, averaged over places.
        batches: Samples, each batch with the name of the part it is from.
        classes: Names.
        decides: Whether ``predict`` gives class probabilities, so that decision and confidence are labels too.
    """
    features, pictures, labels = [], [], []
    with strategy.evaluating(), _entering(strategy if decides else nn.Identity()) as entered:
        for part, batch in batches:
            entered.clear()
            value = strategy.predict(batch.x)
            features.append(_features(value, entered))
            pictures.append(_thumbnails(batch.x))
            labels.append(_labels(part, batch, value if decides else None, classes))
    if not features:
        return None
    columns = {name: [text for row in labels for text in row[name]] for name in labels[0]}
    return Points(torch.cat(features), torch.cat(pictures), columns)


def write_points(found: Points, folder: Path, step: int) -> None:
    """Write the files of the projector in place of those that are there.

    In the folder ``projector`` are ``tensors.tsv``, ``metadata.tsv`` and ``sprite.png``; beside it is
    ``projector_config.pbtxt``, which TensorBoard looks for in the folder of a run.
    """
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    place = folder / PROJECTOR
    place.mkdir(exist_ok=True)
    config = ProjectorConfig()
    embedding = config.embeddings.add(tensor_name=f"features at step {step}")
    embedding.tensor_path = f"{PROJECTOR}/tensors.tsv"
    embedding.metadata_path = f"{PROJECTOR}/metadata.tsv"
    with whole_file(place / "tensors.tsv") as part:
        np.savetxt(part, found.features.numpy(), "%.5g", delimiter="\t")
    rows = [list(found.labels), *zip(*found.labels.values(), strict=True)]
    write_text(place / "metadata.tsv", "".join("\t".join(map(_one_line, row)) + "\n" for row in rows))
    if len(found.pictures):
        sheet = _sheet(found.pictures)
        with whole_file(place / "sprite.png") as part:
            sheet.save(part, "PNG")  # type: ignore[attr-defined]
        embedding.sprite.image_path = f"{PROJECTOR}/sprite.png"
        # width before height
        embedding.sprite.single_image_dim.extend([found.pictures.shape[3], found.pictures.shape[2]])
    # last, when all files that it names are there
    write_text(folder / PROJECTOR_CONFIG, str(config))


# -- features ----------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def _entering(strategy: nn.Module) -> Iterator[list[Tensor]]:
    """What enters linear layers, in the order they run; nothing in compiled networks, which hooks would spoil."""
    entered: list[Tensor] = []
    compiled = any(getattr(module, "_compiled_call_impl", None) is not None for module in strategy.modules())
    linear = [] if compiled else [module for module in strategy.modules() if isinstance(module, nn.Linear)]
    # append returns None, which leaves the input of the layer as it is
    hooks = [module.register_forward_pre_hook(lambda _, given: entered.append(given[0])) for module in linear]
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _features(value: Tensor, entered: Sequence[Tensor]) -> Tensor:
    # a last layer that runs on tokens, or on several batches at once, has no row for each sample
    rows = entered[-1] if entered and entered[-1].dim() == 2 and len(entered[-1]) == len(value) else value
    rows = rows.flatten(2).mean(2) if rows.dim() > 2 else rows
    return rows.detach().float().cpu().nan_to_num()


def _thumbnails(x: Tensor) -> Tensor:
    small = tiles(x)
    if not len(small):
        return small
    factor = SMALL / max(small.shape[-2:])
    return small if factor >= 1 else F.interpolate(small, scale_factor=factor, mode="bilinear", antialias=True)


# -- labels and files --------------------------------------------------------------------------------------------------
def _labels(part: str, batch: Annotated, value: Tensor | None, classes: Sequence[str]) -> dict[str, list[str]]:
    size, named = len(batch.index), batch.annotation.dim() == 1 and not batch.annotation.is_floating_point()
    truth = [_name(label, classes) for label in batch.annotation.tolist()] if named else [_UNKNOWN] * size
    rows = {"true": truth, "part": [part] * size}
    if value is None or value.dim() != 2:
        return rows
    confidence, label = value.max(1)
    said = [_name(i, classes) for i in label.tolist()]
    right = [_UNKNOWN if t == _UNKNOWN else str(t == s) for t, s in zip(truth, said, strict=True)]
    return rows | {"decided": said, "right": right, "confidence": [f"{p:.3f}" for p in confidence.tolist()]}


def _name(label: int, classes: Sequence[str]) -> str:
    if label < 0:
        return _UNKNOWN
    return str(classes[label]) if label < len(classes) else str(label)


def _one_line(text: str) -> str:
    # a tab or a line end in a name would break the table
    plain = " ".join(text.split()) or "-"
    return plain.encode("utf-8", "replace").decode("utf-8")


def _sheet(pictures: Tensor) -> object:
    """Thumbnails in a square, as TensorBoard cuts them out again."""
    from PIL import Image

    across = math.ceil(math.sqrt(len(pictures)))
    blank = pictures.new_ones(across**2 - len(pictures), *pictures.shape[1:])
    cells = torch.cat([pictures, blank]).unflatten(0, (across, across))
    pixels = cells.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.numpy())
