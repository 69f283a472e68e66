"""What TensorBoard is told: one file of events a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from selftrain.tensorboard.tags import placed

EVENTS = "events.out.tfevents.*"
_BINS = 20  # of a histogram
_AFTER = ".after."  # in the name of a file that has to be read after another


class TensorBoardWriter:
    """Write scalars, texts, pictures and the rest; does nothing without a folder.

    Args:
        folder: Run folder, or ``None``.
        resume_at: Step a resumed run continues after; later entries do not count any more.
    """

    def __init__(self, folder: Path | None, resume_at: int | None = None) -> None:
        self.folder, self._resume_at = folder, resume_at
        self._writer: Any = None

    def close(self) -> None:
        """Close the file; raises ``OSError`` for what the disk has against it."""
        if self._writer is not None:
            self._writer.close()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at ``step`` under their names, behind the place of their question."""
        for name, value in values.items() if self.folder is not None else ():
            self._tensorboard().add_scalar(placed(name), value, step)

    def image(self, name: str, picture: Tensor, step: int) -> None:
        """Log a picture (3, H, W) in [0, 1]."""
        if self.folder is not None:
            self._tensorboard().add_image(placed(name, "images"), picture, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Log how values (N,) in [0, 1] are spread, in 20 equal bins."""
        if self.folder is not None and len(values):
            # the same bins at every step: those that follow the data could not be compared over a run
            self._tensorboard().add_histogram(
                placed(name, "histograms"), values, step, bins=[i / _BINS for i in range(_BINS + 1)]
            )

    def curve(self, name: str, right: Tensor, confidence: Tensor, step: int) -> None:
        """Log a precision-recall curve: ``right`` (N,), bool, by thresholds of ``confidence`` (N,), in [0, 1]."""
        if self.folder is not None and len(right):
            self._tensorboard().add_pr_curve(placed(name, "curves"), right, confidence, step)

    def layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Log which charts the page of custom scalars has: by category and title, patterns of the tags in them."""
        if self.folder is not None:
            pages = {
                page: {title: ["Multiline", [*tags]] for title, tags in rows.items()} for page, rows in charts.items()
            }
            self._tensorboard().add_custom_scalars(pages)

    def hparams(self, values: Mapping[str, float | str], figures: Sequence[str]) -> None:
        """Log the settings that runs are compared by, and the tags whose last values are their figures.

        In the run itself: the writer's own ``add_hparams`` makes a second run of them.
        """
        if self.folder is None:
            return
        from torch.utils.tensorboard.summary import hparams

        # of figures only the names are used: their values are the last ones under these tags
        experiment, start, _ = hparams(dict(values), dict.fromkeys(map(placed, figures), 0))
        for summary in (experiment, start):
            self._tensorboard().file_writer.add_summary(summary, 0)

    def finished(self) -> None:
        """Log that the run whose settings were logged is done."""
        if self.folder is None:
            return
        from torch.utils.tensorboard.summary import hparams

        # the third part ends a session, and is empty but for its success
        self._tensorboard().file_writer.add_summary(hparams({}, {})[2], 0)

    def text(self, name: str, content: str, step: int) -> None:
        """Log Markdown."""
        if self.folder is not None:
            self._tensorboard().add_text(placed(name, "texts"), content, step)

    def _tensorboard(self) -> Any:
        # at the first entry: a run that writes nothing leaves no file
        if self._writer is None:
            assert self.folder is not None
            # the checkpoint is after its step, so entries of that step count
            self._writer = _writer_after(self.folder, 0 if self._resume_at is None else self._resume_at + 1)
        return self._writer


def _writer_after(folder: Path, purge: int) -> Any:
    """A writer whose file comes after all that are there: TensorBoard reads files in the order of their names.

    A name holds the second it was made in, then numbers that do not sort. It would come too early after a file of the
    same second, of a clock that was set back since, or of another tool; then it is named after that file. It begins
    with a mark that what earlier ones have from step ``purge`` on does not count; the first file too, or TensorBoard
    takes the mark of the second one for that of a beginning.
    """
    from torch.utils.tensorboard import SummaryWriter

    there = set(folder.glob(EVENTS))
    writer: Any = SummaryWriter(str(folder), purge_step=purge)
    (made,) = set(folder.glob(EVENTS)) - there
    last = max(there, default=made)
    if made < last:
        stem, _, number = last.name.rpartition(_AFTER)
        # counted up: endings upon endings would make the name too long for the disk
        after = f"{stem}{_AFTER}{int(number) + 1:06d}" if stem and number.isdecimal() else f"{last.name}{_AFTER}000000"
        # closed before: not every system renames an open file, and the writer of TensorBoard opens it by its name
        writer.file_writer.close()
        writer.file_writer.event_writer = _Appending(made.rename(folder / after))
    return writer


class _Appending:
    """In the place of TensorBoard's writer of events, which chooses the names of its files itself."""

    def __init__(self, path: Path) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        # unbuffered: who watches the run sees each event, and nothing here flushes now and then
        self._records, self._folder = RecordWriter(path.open("ab", buffering=0)), str(path.parent)

    def get_logdir(self) -> str:
        """The folder."""
        return self._folder

    def add_event(self, event: Any) -> None:
        """Write an event."""
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """To the disk."""
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()
