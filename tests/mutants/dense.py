"""Faults of networks that answer in places."""

from __future__ import annotations

from fault import Mutant

DENSE, NAMES = "selftrain/networks/dense.py", "selftrain/networks/by_name.py"
JOINTS, LOSSES = "selftrain/tasks/keypoints.py", "test_tasks.py::test_scaled_errors_and_wings_by_loops"
MASKS, PIXELS = "selftrain/tasks/segmentation.py", "test_tasks.py::test_class_weights_hard_pixels_and_dice_by_hand"
MAPS = "test_dense.py::test_maps_are_those_of_the_stages_of_a_network"
HEADS = "test_dense.py::test_each_head_answers_in_every_pixel_and_cell_of_each_encoder"
BY_NAME = "test_dense.py::test_names_of_heads_and_encoders"

MUTANTS = [
    Mutant(
        "dense: tokens lie in their grid the other way round",
        DENSE,
        "tokens.transpose(1, 2).unflatten(2, encoder.grid)]",
        "tokens.transpose(1, 2).unflatten(2, encoder.grid[::-1]).mT]",
        MAPS,
    ),
    Mutant(
        "dense: maps of patches before attention count",
        DENSE,
        "return given, found, not tokens",
        "return given, found, True",
        MAPS,
    ),
    Mutant(
        "dense: a probe moves the statistics of BatchNorm",
        DENSE,
        "    network.eval()\n    try:",
        "    try:",
        "test_dense.py::test_a_probe_leaves_an_encoder_as_it_was",
    ),
    Mutant("dense: heatmaps have the size of the picture", DENSE, "self.size or x.shape[2:]", "x.shape[2:]", HEADS),
    Mutant(
        "dense: the head before a name is not heard",
        NAMES,
        "(head, encoder) if head in HEADS",
        '("unet", encoder) if head in HEADS',
        BY_NAME,
    ),
    Mutant(
        "keypoints: scaled errors are means over cells",
        JOINTS,
        "error.sum((2, 3)) / self._mass if",
        "error.mean((2, 3)) if",
        LOSSES,
    ),
    Mutant(
        "keypoints: rows and columns of a mean place change",
        JOINTS,
        "place.sum(2) @ columns, place.sum(3) @ rows",
        "place.sum(3) @ rows, place.sum(2) @ columns",
        LOSSES,
    ),
    Mutant(
        "keypoints: a wing is no logarithm near its tip",
        JOINTS,
        "torch.where(far < width, near,",
        "torch.where(far < 0, near,",
        LOSSES,
    ),
    Mutant("masks: easy pixels are kept and hard ones left", MASKS, "right <= least", "right >= least", PIXELS),
    Mutant("masks: with all easy no pixel is left", MASKS, "least.clamp(min=threshold)", "threshold", PIXELS),
    Mutant(
        "masks: dice of one kept pixel pulls like all",
        MASKS,
        "counted.sum() / target.mask().sum().clamp(min=1) * missed",
        "missed",
        PIXELS,
    ),
    Mutant(
        "masks: class weights are forgotten",
        MASKS,
        "F.cross_entropy(logits, truth, weights,",
        "F.cross_entropy(logits, truth, None,",
        PIXELS,
    ),
]
