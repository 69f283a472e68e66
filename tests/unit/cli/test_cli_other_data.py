"""A run of pictures that is asked about other data: both shapes are named, and data like its own are taken."""

from __future__ import annotations

import numpy as np
import pandas as pd

from selftrain.cli import main as cli

COUNT = 24
Y = np.arange(COUNT) % 2
PICTURES = (np.random.RandomState(0).rand(COUNT, 8, 8, 3) * (100 + 150 * Y[:, None, None, None])).astype(np.uint8)


def test_other_pictures_and_tables_are_told_or_refused_and_the_remedy_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", x=PICTURES, y=np.where(np.arange(COUNT) < 16, Y, -1))
    np.savez("floats.npz", x=PICTURES / 255.0, y=Y)
    np.savez("gray.npz", x=PICTURES[..., 0], y=Y)
    np.savez("small.npz", x=PICTURES[:, :6], y=Y)
    np.savez("flat.npz", x=PICTURES.reshape(COUNT, -1), y=Y)
    np.savez("loud.npz", x=PICTURES.astype(np.float32), y=Y)
    pd.DataFrame(PICTURES[:, 0, :, 0]).assign(label=Y).to_csv("rows.csv", index=False)
    assert cli.main(["train", "--data", "own.npz", "--strategy", "supervised", "--steps", "1", "--out", "run"]) == 0

    def said(data):
        capsys.readouterr()
        status = cli.main(["evaluate", "run", "--data", data, "--part", "labeled"])
        return status, capsys.readouterr().err

    for data in ("own.npz", "floats.npz"):
        assert said(data) == (0, "")
    status, text = said("gray.npz")
    assert (status, "1 channels are shown to a network that has learned from 3" in text) == (0, True)
    for data, words in (
        ("small.npz", "inputs are [3, 6, 8], the encoder was trained on [3, 8, 8]; resize"),
        ("flat.npz", "inputs have shape (1, 192), not (B, C, H, W)"),
        ("loud.npz", "image values run from"),
        ("rows.csv", "has learned from inputs of shape [3, 8, 8], and a table has columns"),
    ):
        status, text = said(data)
        assert status in (1, 2), data
        assert words in text, text
