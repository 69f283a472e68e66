"""Faults of encoders that others have trained, of what frozen means, and of the features that are kept."""

from __future__ import annotations

from fault import Mutant

NETWORK, HUB, START = "selftrain/networks/foundation.py", "selftrain/networks/hub.py", "selftrain/engine/start.py"
ENCODED, VIEWS, PILE = "data/encoded.py", "data/views/features.py", "data/pile.py"
FROZEN = "test_foundation.py::test_frozen_is_frozen"
OTHERS = "test_encoded.py::test_other_weights_or_other_data_are_other_features"
DAMAGED = "test_encoded.py::test_a_damaged_file_is_made_anew"
FEATURES = "test_encoded.py::test_features_are_those_of_the_encoder_at_rest_on_the_views"
LOOKS = "test_encoded.py::test_views_are_the_stored_looks_and_standardized"

MUTANTS = [
    Mutant(
        "BatchNorm of two domains is warned of where they are apart",
        "selftrain/engine/loop.py",
        '.get("together") is not True:',
        '.get("together") is None:',
        "test_domains.py::test_nothing_is_told_where",
    ),
    Mutant("foundation: frozen weights take gradients", NETWORK, "body.requires_grad_(False).eval()", "pass", FROZEN),
    Mutant(
        "foundation: BatchNorm of a frozen encoder moves",
        NETWORK,
        "        self.body.eval()  # whoever set single parts of the network to training\n",
        "",
        FROZEN,
    ),
    Mutant(
        "foundation: a frozen encoder trains with its network",
        NETWORK,
        "super().train(mode and not self.frozen)",
        "super().train(mode)",
        FROZEN,
    ),
    Mutant(
        "foundation: gray pictures keep the mean of the pile",
        NETWORK,
        'x = (x * card["std"][0] + card["mean"][0] - mean) / std',
        "pass",
        "test_foundation.py::test_gray_pictures_are_seen_as_gray_pictures_of_three_channels",
    ),
    Mutant(
        "foundation: files of weights are unpickled",
        "selftrain/storage/tensors.py",
        'torch.load(place, map_location="cpu", weights_only=True)',
        'torch.load(place, map_location="cpu", weights_only=False)',
        "test_foundation.py::test_nothing_but_tensors_is_unpickled",
    ),
    Mutant(
        "foundation: names of others' rooms reach timm",
        NETWORK,
        "if not _NAME.fullmatch(architecture) or not timm.is_model(architecture):",
        "if False:",
        "test_foundation.py::test_a_record_builds_no_network_that_is_fetched",
    ),
    Mutant(
        "foundation: inputs of another normalization are not told",
        "selftrain/engine/loop.py",
        "            _check_normalized(strategy, pile)\n",
        "",
        "test_foundation.py::test_inputs_of_another_normalization_are_told_and_the_remedy_works",
    ),
    Mutant("features: weights are no part of the name", ENCODED, "encoder.key(), content", '"", content', OTHERS),
    Mutant("features: rows are no part of the name", ENCODED, "encoder.key(), content", 'encoder.key(), ""', OTHERS),
    Mutant("features: views are no part of the name", ENCODED, "_in_words(views), looks", '"", looks', OTHERS),
    Mutant("features: the size is no part of the name", NETWORK, "fingerprint(self.body), self.size,", "", OTHERS),
    Mutant(
        "features: some rows are no part of the name",
        "data/base/identity.py",
        "torch.from_numpy(_spread(len(samples), len(samples) if whole else count))",
        "torch.from_numpy(_spread(len(samples), 3 if whole else count))",
        OTHERS,
    ),
    Mutant(
        "features: a file is not looked at",
        ENCODED,
        'told["bytes"] and _sum(path) == told["sum"]',
        'told["bytes"]',
        DAMAGED,
    ),
    Mutant(
        "features: a file without a sum is taken",
        ENCODED,
        "    except (OSError, ValueError, KeyError, TypeError):\n        return False",
        "    except (OSError, ValueError, KeyError, TypeError):\n        return path.exists()",
        "test_encoded.py::test_a_damaged_file_is_made_anew[no-sum]",
    ),
    Mutant("features: weak views are strong ones", VIEWS, '1 if recipe == "weak" else 1 + looks', "1 + looks", LOOKS),
    Mutant("features: each epoch has the same look", VIEWS, "self.seed, epoch, index", "self.seed, 0, index", LOOKS),
    Mutant(
        "features: the encoder is asked in training",
        PILE,
        "encoder.to(where).eval()",
        "encoder.to(where).train()",
        "test_encoded.py::test_the_encoder_stays_as_it_was",
    ),
    Mutant(
        "features: inputs keep the normalization of the pile",
        PILE,
        "shown = self if encoder.mean is None else self.normalized_as(encoder)",
        "shown = self",
        FEATURES,
    ),
    Mutant(
        "features: a part has the rows of another",
        PILE,
        "np.searchsorted(rows, origins[part][1])",
        "np.arange(len(origins[part][1]))",
        FEATURES,
    ),
    Mutant(
        "frozen: a head on what does not learn starts anywhere",
        "selftrain/networks/encoders.py",
        "            nn.init.zeros_(self.head.weight)\n            nn.init.zeros_(self.head.bias)",
        "            nn.init.zeros_(self.head.bias)",
        "test_build.py::test_a_head_on_what_does_not_learn_starts_at_zero",
    ),
    Mutant(
        "frozen: a head of some columns reads the first ones",
        "selftrain/networks/by_name.py",
        "x.narrow(1, self.first, self.embed_dim)",
        "x.narrow(1, 0, self.embed_dim)",
        "test_build.py::test_members_may_read_features_of_their_own",
    ),
    Mutant(
        "features: rows of an interrupted writer are taken whatever their number",
        ENCODED,
        "0 < rows <= shape[0] else 0",
        "0 < rows else 0",
        "test_encoded.py::test_a_part_that_cannot_be_told_is_begun_anew[too-many]",
    ),
    Mutant(
        "features: an interrupted writer begins anew",
        ENCODED,
        "done = _rows_done(part, begun, shape)",
        "done = 0",
        "test_encoded.py::test_what_was_computed_before_a_kill_is_not_computed_again",
    ),
]
