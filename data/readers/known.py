"""What the files of a large folder were when they were last decoded, kept beside downloaded data sets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selftrain.errors import RunFolderError
from selftrain.storage.atomic import whole_file

WORTH = 1_000  # files from which on decoding them takes longer than a file beside them is worth
SETTLED = 2_000_000_000  # nanoseconds: a file that has changed just now may change again within a tick of its times


def cache_folder() -> Path:
    """Where data sets are downloaded to, and what is known of files is kept."""
    return Path(os.environ.get("SELFTRAIN_DATA", "~/.cache/selftrain")).expanduser()


class KnownFiles:
    """Answers about files by name, as long as size and times of change of a file stay; none about few files.

    Args:
        paths: The files.
        ids: Their names.
        asked: What else the answers depend on, such as versions.
    """

    def __init__(self, paths: Sequence[Path], ids: Sequence[str], *asked: object) -> None:
        self._place: Path | None = None
        self._known: dict[str, Any] = {}
        self._stamps: dict[str, list[int]] = {}
        if len(paths) < WORTH:
            return
        about = repr((os.path.realpath(os.path.commonpath([path.absolute() for path in paths])), *asked))
        self._place = cache_folder() / "files" / f"{hashlib.blake2b(about.encode(), digest_size=16).hexdigest()}.json"
        self._stamps = {id: stamp for path, id in zip(paths, ids, strict=True) if (stamp := _stamp(path))}
        with contextlib.suppress(OSError, ValueError):  # it is no more than a memory: what it lacks is found out again
            known = json.loads(self._place.read_text(encoding="utf-8"))
            self._known = known if isinstance(known, dict) else {}

    def __getitem__(self, id: str) -> Any:
        """What was kept of a file; ``None``: nothing, or the file is another one by now."""
        match self._known.get(id):
            case [stamp, answer] if stamp == self._stamps.get(id):
                return answer
        return None

    def keep(self, answers: dict[str, Any]) -> None:
        """Replace what is kept by these, in types of JSON; a disk that refuses is no error."""
        if self._place is None:
            return
        kept = {id: [self._stamps[id], answer] for id, answer in answers.items() if id in self._stamps}
        with contextlib.suppress(RunFolderError), whole_file(self._place, create=True) as part:
            part.write_text(json.dumps(kept), encoding="utf-8")


def _stamp(path: Path) -> list[int] | None:
    with contextlib.suppress(OSError, ValueError):
        told = path.stat()
        if time.time_ns() - max(told.st_mtime_ns, told.st_ctime_ns) > SETTLED:
            return [told.st_size, told.st_mtime_ns, told.st_ctime_ns]
    return None
