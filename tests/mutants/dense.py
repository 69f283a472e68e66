"""Faults of networks that answer in places."""

from __future__ import annotations

from fault import Mutant

DENSE, NAMES = "selftrain/networks/dense.py", "selftrain/networks/by_name.py"
JOINTS, LOSSES = "selftrain/tasks/keypoints.py", "test_tasks.py::test_scaled_errors_and_wings_by_loops"
MASKS, PIXELS = "selftrain/tasks/segmentation.py", "test_tasks.py::test_class_weights_hard_pixels_and_dice_by_hand"
MIX, RULES = "selftrain/mix.py", "selftrain/select/base.py"
BOXES = "test_mix.py::test_boxes_are_one_a_picture_inside_it_of_another_picture_and_as_large_as_asked"
SOURCE = "test_mix.py::test_half_of_a_labeled_pictures_classes_lie_on_an_unlabeled_one_with_their_labels"
UNI, BY_HAND = "strategies/unimatch.py", "test_methods_dense.py::test_the_loss_of_unimatch_by_hand"
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
    Mutant(
        "mix: a picture may be its own partner",
        MIX,
        "partner = torch.empty_like(order).scatter_(0, order, order.roll(1))",
        "partner = torch.empty_like(order).scatter_(0, order, torch.randperm(len(x)))",
        BOXES,
    ),
    Mutant(
        "mix: every picture gets a box", MIX, "torch.rand(len(x), 1) < probability", "torch.rand(len(x), 1) < 1", BOXES
    ),
    Mutant(
        "mix: classes of the batch are those of each picture",
        MIX,
        "_half(row, up=True) if drawn is None else drawn",
        "_half(row, up=True)",
        SOURCE,
    ),
    Mutant("mix: half of the source's classes, rounded down", MIX, "(len(found) + up) // 2", "len(found) // 2", SOURCE),
    Mutant(
        "mix: the labeled batch is not handed on",
        MIX,
        "if self.reads_labeled and labeled is not None:",
        "if False:",
        "test_methods_dense.py::test_labeled_pixels_lie_on_unlabeled_pictures_in_every_strategy",
    ),
    Mutant(
        "select: the share of the batch weighs every picture",
        RULES,
        "sure.mean([*range(1, sure.dim())], keepdim=True)",
        "sure.mean()",
        "test_select.py::test_the_share_of_sure_units_is_the_weight_of_all",
    ),
    Mutant(
        "mix: sure images get labels as often as unsure ones",
        MIX,
        "unsure = sent(torch.rand(len(x)), x.device) > rho",
        "unsure = sent(torch.rand(len(x)), x.device) > rho.mean()",
        "test_mix.py::test_the_less_sure_an_image_is_the_more_often_a_labeled_box_lies_in_what_it_lends",
    ),
    Mutant(
        "mix: entropy says nothing of how sure an image is",
        MIX,
        "(task.confidence(value) * (1 - entropy))",
        "task.confidence(value)",
        "test_mix.py::test_the_less_sure_an_image_is_the_more_often_a_labeled_box_lies_in_what_it_lends",
    ),
    Mutant(
        "mix: a joint without a box counts as its partner does",
        MIX,
        "weight = torch.where(touched, torch.minimum(target.weight, other.weight), target.weight)",
        "weight = torch.minimum(target.weight, other.weight)",
        "test_mix.py::test_a_joint_of_an_image_without_a_box_counts_as_before",
    ),
    Mutant(
        "views: as many operations on every picture",
        "data/views/image.py",
        "torch.arange(most, device=choice.device) >= count",
        "torch.arange(most, device=choice.device) >= most",
        "test_views.py::test_how_many_operations_there_are_may_be_drawn",
    ),
    Mutant(
        "select: lowest entropies are largest probabilities",
        RULES,
        "confidence = -evidence.entropy",
        "pass",
        "test_select.py::test_the_lowest_entropies_are_not_the_largest_probabilities",
    ),
    Mutant(
        "FST: no average after the real step",
        "strategies/future.py",
        "if moved and self.teacher_after:",
        "if False:",
        "test_methods_dense.py::test_the_released_steps_of_fst_d_on_masks_by_hand",
    ),
    Mutant(
        "unimatch v2: both streams keep the same channels",
        "strategies/unimatch_v2.py",
        "by_channel(features, (2 - self.masks[features.shape[1]])",
        "by_channel(features, (self.masks[features.shape[1]])",
        "test_methods_dense.py::test_the_loss_of_unimatch_v2_by_hand",
    ),
    Mutant(
        "unimatch v2: the student labels for itself",
        "strategies/unimatch_v2.py",
        "p_w = self.task.probs(self.teacher(weak.x))",
        "p_w = self.task.probs(self.student.label(weak.x))",
        "test_methods_dense.py::test_the_loss_of_unimatch_v2_by_hand",
    ),
    Mutant("unimatch: both views are one", UNI, 'batch.unlabeled["strong2"]]', 'batch.unlabeled["strong"]]', BY_HAND),
    Mutant(
        "unimatch: the weak view weighs like all",
        UNI,
        "unsupervised + mu * labeling",
        "unsupervised + labeling",
        BY_HAND,
    ),
    Mutant(
        "unimatch: pixels are dropped in place of channels",
        UNI,
        "torch.rand(features.shape[:2], device=features.device) >= share",
        "torch.rand(features.shape[:2], device=features.device) >= 0",
        "test_methods_dense.py::test_features_lose_whole_channels_where_head_and_encoder_meet",
    ),
    Mutant(
        "geometry: of a map with kinks the mean slopes lead back",
        "selftrain/tasks/geometry.py",
        "sides = torch.where(back[..., :1], behind, ahead), torch.where(back[..., 1:], above, below)",
        "sides = (ahead + behind) / 2, (above + below) / 2",
        "test_dense_views.py::test_a_map_with_kinks_leads_back_to_where_it_came_from",
    ),
    Mutant(
        "geometry: pseudo-labels go through the pixels that masks have",
        "selftrain/tasks/geometry.py",
        "dense = destination.pixels if source is None else shown",
        "dense = destination.pixels",
        "test_dense_views.py::test_carried_labels_are_those_of_the_strong_view",
    ),
]
