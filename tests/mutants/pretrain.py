"""Faults of the pretraining stage: parts, recipes, hand-over."""

from fault import Mutant

TOKENS = "test_pretrain_tokenizers.py"
MASKED = "test_pretrain_masked.py"
TARGETS = "test_pretrain_targets.py"
RECIPES = "test_pretrain_recipes.py"
PREDICTOR = "test_pretrain_predictor.py"
JOINT = "test_pretrain_joint.py"
GOING_ON = "test_continuing.py"
STAGE = "test_pretrain_stage.py"
TWOVIEW = "test_pretrain_twoview.py"
TRAVELS = f"{GOING_ON}::test_the_card_travels_with_every_snapshot_and_with_a_run_that_was_cut"
BLAMED = f"{STAGE}::test_only_what_is_low_and_fell_is_blamed"
EMBEDDINGS = f"{STAGE}::test_embeddings_have_collapsed_if_little_is_left_and_they_fell"
COUNTED = f"{MASKED}::test_the_student_computes_seen_tokens_and_the_target_all_of_them_once"
HIDDEN = f"{MASKED}::test_predictions_see_nothing_of_what_is_hidden_and_something_of_what_is_seen"
LOSS = f"{MASKED}::test_the_loss_is_the_distance_between_predictions_and_targets"
FOLLOWS = f"{MASKED}::test_the_target_encoder_follows_after_the_step_by_the_decay_of_the_moment"
PARTS = f"{RECIPES}::test_parts_are_those_of_the_papers"
SUM = f"{JOINT}::test_the_encoder_steps_along_the_sum_of_the_gradients"

MUTANTS = [
    # -- what is seen
    Mutant(
        "pretraining: mask inverted",
        "selftrain/pretrain/masked.py",
        "self.encoder.tokens(repeated, mask.context.flatten(0, 1))",
        "self.encoder.tokens(repeated, mask.targets[: len(mask.context)].flatten(0, 1))",
        f"{MASKED}::test_the_encoder_computes_seen_tokens_only",
    ),
    Mutant(
        "pretraining: the encoder computes all tokens and drops them at the end",
        "selftrain/pretrain/masked.py",
        "tokens: Tensor = self.encoder.tokens(repeated, mask.context.flatten(0, 1))  # type: ignore[operator]",
        "tokens: Tensor = pick(self.encoder.tokens(repeated), mask.context.flatten(0, 1))",
        HIDDEN,
    ),
    Mutant(
        "pretraining: the predictor takes seen tokens for those of the targets",
        "selftrain/pretrain/masked.py",
        "predicted: Tensor = self.predictor(tokens, given,",
        "predicted: Tensor = self.predictor(tokens, mask.targets.flatten(0, 1)[:, : given.shape[1]],",
        f"{MASKED}::test_each_target_set_is_a_pass_of_its_own_from_its_own_look",
    ),
    Mutant(
        "pretraining: the predictor sees the tokens of the targets",
        "selftrain/pretrain/masked.py",
        "        seen = self.encode(x, mask)\n"
        "        predictions = self.predict(seen, mask, layout_of(self.encoder, x)).transpose(0, 1)\n",
        "        seen, hidden = self.encode(x, mask), mask.targets[: len(mask.context)]\n"
        "        told = Mask(torch.cat([mask.context, hidden], 2), mask.targets)\n"
        "        known = torch.cat([seen, self.encode(x, Mask(hidden, mask.targets))], 1)\n"
        "        predictions = self.predict(known, told, layout_of(self.encoder, x)).transpose(0, 1)\n",
        HIDDEN,
    ),
    Mutant(
        "pretraining: the target sees what the student sees",
        "selftrain/pretrain/targets.py",
        "return self.at(run_network(read, x, self.teacher.precision, self.teacher.channels_last), positions)",
        "return torch.stack([read(x, where) for where in positions])",
        COUNTED,
    ),
    Mutant(
        "pretraining: every set is predicted from the first look",
        "selftrain/pretrain/masked.py",
        "tokens = seen.unflatten(0, (looks, batch)).repeat_interleave(mask.repeats, 0).flatten(0, 1)",
        "tokens = seen.unflatten(0, (looks, batch))[:1].repeat_interleave(sets, 0).flatten(0, 1)",
        f"{MASKED}::test_each_target_set_is_a_pass_of_its_own_from_its_own_look",
    ),
    Mutant(
        "pretraining: places of samples in the order of another",
        "selftrain/pretrain/masked.py",
        "layout.places.repeat(sets, 1, 1)",
        "layout.places.repeat_interleave(sets, 0)",
        f"{MASKED}::test_each_target_set_is_a_pass_of_its_own_from_its_own_look",
    ),
    Mutant(
        "pretraining: masks drawn without the places of the tokens",
        "selftrain/pretrain/masked.py",
        "return self.masker(len(x), layout_of(self.network.encoder, x), progress).to(x.device)",
        "return self.masker(len(x), Layout(cast(Encoder, self.network.encoder).grid), progress).to(x.device)",
        f"{MASKED}::test_masks_are_drawn_where_the_tokens_of_each_sample_are",
    ),
    Mutant(
        "pretraining: mask left on at inference",
        "selftrain/networks/vit.py",
        "tokens = self.tokens(x)\n        there = self",
        "tokens = self.tokens(x, torch.arange(2).expand(len(x), -1)).mean(1, keepdim=True).expand(-1, "
        "math.prod(self.grid), -1)\n        there = self",
        f"{TOKENS}::test_features_are_read_out_as_asked",
    ),
    Mutant(
        "pretraining: positions dropped in the encoder",
        "selftrain/networks/vit.py",
        "tokens = block(tokens + codes if again or number == 0 else tokens, *seen)",
        "tokens = block(tokens, *seen)",
        f"{TOKENS}::test_positions_matter",
    ),
    Mutant(
        "pretraining: positions of clouds added once",
        "selftrain/networks/vit.py",
        "tokens = block(tokens + codes if again or number == 0 else tokens, *seen)",
        "tokens = block(tokens + codes if number == 0 else tokens, *seen)",
        f"{TOKENS}::test_kept_tokens_are_what_a_transformer_makes_of_them_alone",
    ),
    Mutant(
        "pretraining: positions dropped in the predictor",
        "selftrain/pretrain/predictor.py",
        "codes = self.positions(layout, torch.cat([given, wanted], 1))",
        "codes = 0 * self.positions(layout, torch.cat([given, wanted], 1))",
        f"{MASKED}::test_every_hidden_place_gets_a_prediction_of_its_own",
    ),
    Mutant(
        "pretraining: positions of given and wanted tokens swapped",
        "selftrain/pretrain/predictor.py",
        "torch.cat([given, wanted], 1))",
        "torch.cat([wanted, given], 1))",
        f"{PREDICTOR}::test_the_order_of_the_given_tokens_does_not_matter",
    ),
    Mutant(
        "pretraining: registers masked",
        "selftrain/networks/vit.py",
        "front = len(self.registers), self.registers.expand(len(x), -1, -1)",
        "front = len(self.registers), self.registers.expand(len(x), -1, -1) * (keep is None)",
        f"{TOKENS}::test_registers_join_in_and_are_dropped_at_the_end",
    ),
    Mutant(
        "pretraining: registers handed on",
        "selftrain/networks/vit.py",
        "normed: Tensor = self.norm(tokens[:, count:])",
        "normed: Tensor = self.norm(tokens[:, : tokens.shape[1] - count])",
        f"{TOKENS}::test_registers_join_in_and_are_dropped_at_the_end",
    ),
    # -- tokenizers
    Mutant(
        "pretraining: numeric columns share one weight",
        "selftrain/networks/tokenizers.py",
        "tokens = value[..., None] * self.weight[keep]",
        "tokens = value[..., None] * self.weight[:1]",
        f"{TOKENS}::test_columns_are_a_weight_times_the_value_or_a_vector_for_the_code",
    ),
    Mutant(
        "pretraining: categories of all columns share rows",
        "selftrain/networks/tokenizers.py",
        "first[column], coded[column], start = start, True, start + count",
        "first[column], coded[column], start = 0, True, start + count",
        f"{TOKENS}::test_columns_are_a_weight_times_the_value_or_a_vector_for_the_code",
    ),
    Mutant(
        "pretraining: groups of points are absolute",
        "selftrain/networks/tokenizers.py",
        "inside = self.each(points - centers[:, :, None])",
        "inside = self.each(points)",
        f"{TOKENS}::test_a_group_is_told_by_its_points_relative_to_the_center",
    ),
    Mutant(
        "pretraining: centers are the first points",
        "selftrain/networks/tokenizers.py",
        "distance = torch.minimum(distance, (x - last).square().sum(2))",
        "distance = (x - last).square().sum(2)",
        f"{TOKENS}::test_each_chosen_point_is_the_farthest_from_those_before",
    ),
    # -- targets
    Mutant(
        "pretraining: EMA frozen",
        "selftrain/pretrain/targets.py",
        "self.teacher.update(encoder, decay=decay)",
        "self.teacher.update(encoder, decay=1.0)",
        FOLLOWS,
    ),
    Mutant(
        "pretraining: EMA follows before the step",
        "selftrain/pretrain/base.py",
        "        if self.student.update(loss):\n            scalars |= self.after_step(clock)",
        "        scalars |= self.after_step(clock)\n        self.student.update(loss)",
        FOLLOWS,
    ),
    Mutant(
        "pretraining: EMA follows steps that did not happen",
        "selftrain/pretrain/base.py",
        "        if self.student.update(loss):\n            scalars |= self.after_step(clock)",
        "        self.student.update(loss)\n        scalars |= self.after_step(clock)",
        f"{MASKED}::test_the_target_encoder_waits_for_the_optimizer",
    ),
    Mutant(
        "pretraining: target norm dropped",
        "selftrain/pretrain/targets.py",
        "return F.layer_norm(tokens, tokens.shape[-1:])",
        "return tokens",
        LOSS,
    ),
    Mutant(
        "pretraining: target norm over tokens",
        "selftrain/pretrain/targets.py",
        "return F.layer_norm(tokens, tokens.shape[-1:])",
        "return F.layer_norm(tokens.mT, tokens.shape[-2:-1]).mT",
        f"{TARGETS}::test_normalization_is_over_the_channels_of_a_token",
    ),
    Mutant(
        "pretraining: target of the student's own tokens stopped",
        "selftrain/pretrain/masked.py",
        "return self.target.at(tokens, mask.targets)",
        "return self.target.at(tokens.detach(), mask.targets)",
        f"{MASKED}::test_own_latents_let_gradients_through_both_sides",
    ),
    Mutant(
        "pretraining: target encoder takes gradients",
        "selftrain/pretrain/targets.py",
        "    @torch.no_grad()\n    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:\n"
        '        """Tokens of the copy at these positions, without gradient."""\n'
        "        read = cast(Encoder, self.teacher.model).tokens\n",
        "    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:\n"
        '        """Tokens of the copy at these positions, without gradient."""\n'
        "        read = cast(Encoder, self.teacher.model.requires_grad_()).tokens\n",
        f"{TARGETS}::test_latents_are_tokens_of_the_whole_sample",
    ),
    Mutant(
        "pretraining: patches standardized over the batch",
        "selftrain/pretrain/targets.py",
        "return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + self.flat).sqrt()",
        "return patches.mean(1, keepdim=True), (patches.var(1, keepdim=True) + self.flat).sqrt()",
        f"{TARGETS}::test_pixels_are_patches_standardized_by_their_own_mean_and_variance",
    ),
    Mutant(
        "pretraining: variance of patches without its floor",
        "selftrain/pretrain/targets.py",
        "(patches.var(-1, keepdim=True) + self.flat).sqrt()",
        "(patches.var(-1, keepdim=True) + 1e-12).sqrt()",
        f"{TARGETS}::test_pixels_of_any_patch_have_mean_zero_and_variance_at_most_one",
    ),
    Mutant(
        "pretraining: stages share a target",
        "selftrain/pretrain/masked.py",
        "self.target = copy_network(target)",
        "self.target = target",
        f"{MASKED}::test_a_target_may_be_given_to_several_stages",
    ),
    # -- predictors
    Mutant(
        "pretraining: noise of positions passes a layer of its own",
        "selftrain/pretrain/predictor.py",
        "filled: Tensor = predictor.enter(noise.to(tokens.device))",
        "filled: Tensor = cast(float, predictor.noise) * torch.randn(*shape, predictor.enter.out_features)",
        f"{PREDICTOR}::test_the_noise_passes_the_layer_that_takes_the_tokens_in",
    ),
    Mutant(
        "pretraining: noise at rest",
        "selftrain/pretrain/predictor.py",
        "    if predictor.training:  #",
        "    if True:  #",
        f"{PREDICTOR}::test_noise_is_drawn_anew_in_training_and_is_none_at_rest",
    ),
    Mutant(
        "pretraining: filled cells in the wrong places",
        "selftrain/pretrain/predictor.py",
        "picture = cells.transpose(1, 2).unflatten(2, self.grid)",
        "picture = cells.transpose(1, 2).flip(2).unflatten(2, self.grid)",
        f"{PREDICTOR}::test_convolutions_start_from_filled_in_cells",
    ),
    # -- recipes
    Mutant(
        "recipes: MAE with PyTorch's second beta",
        "selftrain/pretrain/methods/mae.py",
        "TRAINING = Training(lr=1.5e-3, weight_decay=0.05, beta2=0.95,",
        "TRAINING = Training(lr=1.5e-3, weight_decay=0.05,",
        f"{PARTS}[MAE]",
    ),
    Mutant(
        "recipes: CNN-JEPA predicts blocks one by one",
        "selftrain/pretrain/methods/cnn_jepa.py",
        "MultiBlock(context_scale=(1.0, 1.0), union=True)",
        "MultiBlock()",
        f"{PARTS}[CNNJEPA]",
    ),
    Mutant(
        "recipes: CNN-JEPA with targets that are not normalized",
        "selftrain/pretrain/methods/cnn_jepa.py",
        'EMALatent(norm="l2", decay=decay, path=path)',
        'EMALatent(norm="none", decay=decay, path=path)',
        f"{PARTS}[CNNJEPA]",
    ),
    Mutant(
        "recipes: ECG-JEPA with the distance of I-JEPA",
        "selftrain/pretrain/methods/ecg_jepa.py",
        'distance="l1"',
        'distance="smooth_l1"',
        f"{PARTS}[ECGJEPA]",
    ),
    Mutant(
        "recipes: T-JEPA sees the share of columns of the released code",
        "selftrain/pretrain/methods/t_jepa.py",
        "masks or FeatureSubset(context=(0.3, 0.5))",
        "masks or FeatureSubset()",
        f"{PARTS}[TJEPA]",
    ),
    Mutant(
        "recipes: T-JEPA without clipping",
        "selftrain/pretrain/methods/t_jepa.py",
        "weight_decay=0.0, max_grad_norm=1.0,",
        "weight_decay=0.0,",
        f"{PARTS}[TJEPA]",
    ),
    Mutant(
        "recipes: Point-JEPA hides scattered groups",
        "selftrain/pretrain/methods/point_jepa.py",
        "masker=masks or Runs()",
        "masker=masks or RandomMask()",
        f"{PARTS}[PointJEPA]",
    ),
    Mutant(
        "recipes: UniSiam's head without BatchNorm at its end",
        "selftrain/pretrain/methods/unisiam.py",
        "        norm_last=True,\n",
        "",
        f"{RECIPES}::test_losses_and_heads_are_those_of_the_papers[UniSiam]",
    ),
    # -- views, joint mode, hand-over
    Mutant(
        "pretraining: a stage looks at one view only",
        "selftrain/pretrain/base.py",
        "x = torch.cat([batch.unlabeled[view].x for view in self.views])",
        "x = torch.cat([batch.unlabeled[self.views[0]].x for view in self.views])",
        f"{RECIPES}::test_every_setting_changes_what_is_learned",
    ),
    Mutant(
        "pretraining: neighbors sought in features as they are",
        "selftrain/pretrain/base.py",
        "queries, reference_rows = standardized(features[asked], known), standardized(known, known)",
        "queries, reference_rows = features[asked], known",
        f"{STAGE}::test_neighbors_are_sought_in_standardized_features",
    ),
    Mutant(
        "pretraining: embeddings of views and samples mixed up",
        "selftrain/pretrain/joint_embedding.py",
        "z.unflatten(0, (len(self.views), -1))",
        "z.unflatten(0, (-1, len(self.views))).transpose(0, 1)",
        f"{TWOVIEW}::test_the_loss_gets_the_embeddings_of_each_view_in_the_order_of_the_views",
    ),
    Mutant(
        "pretraining: views in another order",
        "selftrain/pretrain/base.py",
        "x = torch.cat([batch.unlabeled[view].x for view in self.views])",
        "x = torch.cat([batch.unlabeled[view].x for view in sorted(self.views)])",
        f"{TWOVIEW}::test_the_loss_gets_the_embeddings_of_each_view_in_the_order_of_the_views",
    ),
    Mutant(
        "pretraining: the target moves with the schedule backwards",
        "selftrain/pretrain/targets.py",
        "return self.decay[0] + (self.decay[1] - self.decay[0]) * moved",
        "return self.decay[1] + (self.decay[0] - self.decay[1]) * moved",
        FOLLOWS,
    ),
    Mutant(
        "joint mode: the encoder is not shared",
        "selftrain/pretrain/joint_mode.py",
        "self.stage.student.model.encoder = encoder  # shared from here on",
        "pass",
        f"{JOINT}::test_predictor_and_target_encoder_learn_too_and_the_encoder_is_one",
    ),
    Mutant("joint mode: weight ignored", "selftrain/pretrain/joint_mode.py", "self.weight * loss", "loss", SUM),
    Mutant(
        "joint mode: predictor never steps",
        "selftrain/pretrain/joint_mode.py",
        "            self.stage.student.flush()\n",
        "",
        f"{JOINT}::test_predictor_and_target_encoder_learn_too_and_the_encoder_is_one",
    ),
    Mutant(
        "joint mode: predictor steps while the encoder waits",
        "selftrain/pretrain/joint_mode.py",
        "if not any(isinstance(p.grad, torch.Tensor) for p in encoder.parameters()):",
        "if True:",
        f"{JOINT}::test_gathered_steps_wait_for_one_another",
    ),
    Mutant(
        "continuing: the optimizer is taken over",
        "selftrain/engine/loop.py",
        "taken = {k: v for k, v in state.items() if k not in anew}",
        "taken = dict(state)",
        f"{GOING_ON}::test_a_run_goes_on_from_all_parts_of_another_with_a_new_optimizer",
    ),
    Mutant(
        "continuing: weights are taken over again on resuming",
        "selftrain/engine/state.py",
        "if self.step or not (continued",
        "if not (continued",
        f"{GOING_ON}::test_a_run_that_continues_another_can_be_resumed",
    ),
    Mutant(
        "snapshots: the first instead of the best",
        "selftrain/handlers/snapshots.py",
        "return max(range(len(rows)), key=lambda i: parts[i][shared[0]])",
        "return 0",
        f"{GOING_ON}::test_the_choice_follows_the_use",
    ),
    Mutant(
        "card: none for a run that is not finished",
        "selftrain/engine/state.py",
        "write_json(self.out / CARD, self.card(step))",
        "pass",
        TRAVELS,
    ),
    Mutant(
        "card: none for snapshots",
        "selftrain/handlers/snapshots.py",
        "    write_json(card_of(path), card)\n",
        "",
        TRAVELS,
    ),
    Mutant(
        "card: the pile keeps its own normalization",
        "data/pile.py",
        "setattr(changed.views, key, tensor if tensor is None or like is None else tensor.reshape(like.shape))",
        "pass",
        f"{GOING_ON}::test_a_pile_takes_the_normalization_of_an_encoder",
    ),
    Mutant(
        "collapse of features told from the first step on",
        "selftrain/handlers/selfcheck.py",
        "        if 2 * step < self.total:\n            return found\n",
        "",
        f"{STAGE}::test_collapse_is_judged_from_the_middle_of_the_stage_on",
    ),
    Mutant(
        "collapse of features told of a large constant",
        "selftrain/handlers/selfcheck.py",
        "if low[name] and (all(low.values()) or fell[name])]",
        "if low[name]]",
        BLAMED,
    ),
    Mutant(
        "collapse of features told by both alone",
        "selftrain/handlers/selfcheck.py",
        "if low[name] and (all(low.values()) or fell[name])]",
        "if all(low.values())]",
        BLAMED,
    ),
    Mutant(
        "collapse of features judged on few validation samples",
        "selftrain/handlers/selfcheck.py",
        'self.judge_features(step, figures.get("unlabeled", held_out))',
        "self.judge_features(step, held_out)",
        f"{STAGE}::test_features_are_judged_on_the_unlabeled_samples_where_there_is_a_choice",
    ),
    Mutant(
        "collapse of features: the start is not looked at",
        "selftrain/handlers/selfcheck.py",
        "            self.keep_start(known or {})\n",
        "            pass\n",
        f"{STAGE}::test_features_are_judged_on_the_unlabeled_samples_where_there_is_a_choice",
    ),
    Mutant(
        "collapse of embeddings unheard",
        "selftrain/handlers/selfcheck.py",
        "if not found.alarms and last < LITTLE and last < REST * first:",
        "if False:",
        EMBEDDINGS,
    ),
    Mutant(
        "collapse of embeddings told of small ones",
        "selftrain/handlers/selfcheck.py",
        "if not found.alarms and last < LITTLE and last < REST * first:",
        "if not found.alarms and last < LITTLE:",
        EMBEDDINGS,
    ),
    Mutant(
        "collapse of embeddings forgotten by resuming",
        "selftrain/handlers/selfcheck.py",
        '(("streaks", int), ("embedded", float))',
        '(("streaks", int), ("streaks", float))',
        EMBEDDINGS,
    ),
    Mutant(
        "spread of embeddings over all their numbers",
        "selftrain/pretrain/joint_embedding.py",
        "embedded[0].detach().std(1, correction=0).mean()",
        "embedded[0].detach().std(correction=0)",
        f"{STAGE}::test_the_spread_of_embeddings_is_over_the_samples_of_a_view",
    ),
    Mutant(
        "adapters: hidden patches pass the blocks of timm's network",
        "selftrain/networks/timm.py",
        "        if keep is not None:\n            patches = pick(patches, keep)\n",
        "",
        "test_pretrain_adapters.py::test_hidden_patches_never_enter_a_block",
    ),
    Mutant(
        "sparse: the mean of a squeeze-and-excitation counts hidden places",
        "selftrain/networks/sparse.py",
        "return found / self.share(given[0])",
        "return found",
        "test_convnets.py::test_a_cell_seen_alone_is_the_picture_of_that_cell[SE_of_torchvision-True]",
    ),
    Mutant(
        "sparse: BatchNorm learns from hidden places",
        "selftrain/networks/sparse.py",
        "return self.gather, self.scatter",
        "return self.blank, _nothing",
        "test_convnets.py::test_a_cell_seen_alone_is_the_picture_of_that_cell[test_resnet-True]",
    ),
]
