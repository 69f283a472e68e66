"""Remedies of the messages about encoders with weights of others: names, files, folders, packages, downloads."""

import json
from functools import cache, partial
from unittest import mock

import numpy as np
import pytest
from remedies import Elsewhere, Row, brings
from safetensors.torch import save_file
from torch import nn

import selftrain as st
from selftrain import strategies
from selftrain.data import Pile
from selftrain.engine import start
from selftrain.networks import by_name, hub
from selftrain.networks.by_name import DenseEncoder, make_encoder
from selftrain.networks.foundation import TimmNet
from selftrain.networks.timm import ConvNetEncoder, FeatureEncoder, TimmEncoder
from selftrain.types import BatchPlan

BY_NAME = "unit/networks/test_by_name.py::"
COLORS = "unit/cli/test_cli_starts.py::test_comparisons_of_pictures_in_color_have_the_row"
CONVNETS = "unit/networks/test_convnets.py::"
PLAIN, OTHER, BARE = "test_vit", "test_resnet", "lcnet_035"  # small ones of timm; of the last it has no weights


def timm():
    return pytest.importorskip("timm", minversion="1.0.9")


@cache
def weights(name):
    """What is in a file of weights of timm."""
    return timm().create_model(name, num_classes=3).eval().state_dict()


def file(tmp, name=PLAIN):
    save_file(weights(name), tmp / f"{name}.safetensors")
    return tmp / f"{name}.safetensors"


def loaded(name, size=32, **settings):
    assert st.pretrained(name, size=size, **settings).embed_dim > 0


def folder(tmp, card=True):
    """A folder as timm writes it."""
    place = tmp / "model"
    place.mkdir(exist_ok=True)
    save_file(weights(PLAIN), place / "model.safetensors")
    if card:
        (place / "config.json").write_text(json.dumps({"architecture": PLAIN, "pretrained_cfg": {}}))
    return place


def lacking(do, room=hub):
    """As if no package was installed that may be left out."""
    timm()
    with mock.patch.object(room, "find_spec", return_value=None):
        return do()


def of_transformers(tmp):
    (tmp / "config.json").write_text('{"model_type": "vit"}')
    return st.pretrained(tmp)


def fetched(tmp, name, **settings):
    """As if weights could be fetched of which none are on this machine."""
    path = file(tmp)
    with (
        mock.patch.object(hub, "_from_hub", lambda repository, files, download: path if download else None),
        mock.patch("torch.hub.get_dir", return_value=str(tmp / "none")),
    ):
        loaded(name, **settings)


def downloaded(tmp, name, **settings):
    """As if a model could be fetched that is not on this machine."""
    place = folder(tmp)

    def fetch(repository, *, local_files_only, **more):
        if local_files_only:
            raise FileNotFoundError(repository)
        return str(place)

    pytest.importorskip("huggingface_hub")
    with mock.patch("huggingface_hub.snapshot_download", fetch):
        loaded(name, **settings)


def only_timm_reads(tmp, name):
    with mock.patch.object(hub, "_timm_file", return_value=file(tmp)):
        loaded(name)


def run(tmp, network):
    pile = Pile.from_arrays(np.random.RandomState(0).normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2)
    learner = st.learner(network)
    st.fit(
        strategies.Supervised(st.Classification(2), learner),
        pile,
        steps=1,
        plan=BatchPlan(4),
        out=tmp / "run",
        overwrite=True,
    )
    return st.pretrained(tmp / "run")


def without_peft(network):
    with mock.patch.dict("sys.modules", {"peft": None}):
        st.Training(adapter=st.LoRA()).learner(network)


TEXTS = "unit/networks/test_foundation.py::test_texts_are_the_mean_of_their_tokens_and_no_padding"
ADAPTERS = "unit/networks/test_adapters.py::test_what_cannot_get_an_adapter_says_so"
FOUNDATION = "unit/networks/test_foundation.py::"
ENCODED = "unit/data/test_encoded.py::test_a_run_on_features_is_opened_with_its_data_again"

ROWS_OF = {
    "selftrain/engine/spec.py": [
        Elsewhere("or pass a pile that is encoded", ENCODED),
        Elsewhere(
            "build the strategy as it was and",
            "unit/engine/test_open_run.py::test_parts_of_the_users_are_missed_only_where_they_are_used",
        ),
    ],
    "selftrain/engine/start.py": [
        Elsewhere("bring it back", ENCODED),
        Row(
            "give the folder with the file and its {} instead",
            lambda tmp: loaded(f"own/model@{file(tmp)}"),
            lambda tmp: loaded(folder(tmp)),
        ),
        Row(
            "if it is one of timm",
            lambda: lacking(lambda: lacking(partial(loaded, PLAIN)), start),
            lambda: brings("timm", "timm"),
        ),
        Row(
            "has no encoder; take another run",
            lambda tmp: run(tmp, nn.Linear(3, 2)),
            lambda tmp: run(tmp, st.Classifier(DenseEncoder(3, width=4), 2)),
        ),
    ],
    "selftrain/labels/table.py": [
        Elsewhere(
            "build its strategy with them to train on",
            "unit/engine/test_open_run.py::test_labels_of_a_frozen_teacher_are_not_needed_to_predict",
        ),
    ],
    "selftrain/networks/adapters.py": [
        Elsewhere("build it as Classifier(encoder, classes)", ADAPTERS),
        Elsewhere("is read without calling a layer", ADAPTERS),
        Elsewhere("set targets of the adapter to ends of names", ADAPTERS),
        Row(
            "adapters need peft",
            lambda: without_peft(st.Classifier(DenseEncoder(3, width=4), 2)),
            lambda: brings("peft", "peft"),
        ),
    ],
    "selftrain/networks/foundation.py": [
        Elsewhere(
            "load it with selftrain.pretrained(folder)",
            TEXTS,
        ),
        Row(
            "see timm.list_models()",
            lambda: TimmNet("test_vat"),
            lambda: TimmNet(next(name for name in timm().list_models() if name == PLAIN)),
        ),
        *(
            Elsewhere(says, f"{FOUNDATION}test_folders_of_transformers")
            for says in ("load it with trust=True", "update it, or take another model", "is fetched from elsewhere")
        ),
    ],
    "selftrain/networks/hub.py": [
        Row(
            "take another network",
            lambda tmp: only_timm_reads(tmp, "vit_small_patch32_224"),
            lambda tmp: only_timm_reads(tmp, PLAIN),
        ),
        Row(
            "the weights in {} do not fit {}: {}",
            lambda tmp: loaded(f"{OTHER}@{file(tmp)}"),
            lambda tmp: loaded(f"{PLAIN}@{file(tmp)}"),
        ),
        Row(
            "see timm.list_pretrained()",
            lambda tmp: (timm(), loaded(BARE)),
            lambda: any(name.startswith(f"{PLAIN}.") for name in timm().list_pretrained()),
            lambda tmp: loaded(f"{BARE}@{file(tmp, BARE)}"),
        ),
        Row(
            "or say where they are: {}@FILE",
            lambda tmp: fetched(tmp, PLAIN),
            lambda tmp: fetched(tmp, PLAIN, download=True),
            lambda tmp: fetched(tmp, f"{PLAIN}@{file(tmp)}"),
        ),
        Row(
            "give the folder of a model of transformers or timm",
            lambda tmp: hub.from_its_folder(folder(tmp, card=False)),
            lambda tmp: loaded(folder(tmp)),
        ),
        Row("is a model of timm", lambda tmp: lacking(lambda: loaded(folder(tmp))), lambda: brings("timm", "timm")),
        Row(
            "is a model of transformers",
            lambda tmp: lacking(lambda: of_transformers(tmp)),
            lambda: brings("transformers", "transformers"),
        ),
        Row(
            "is a model of the Hugging Face hub",
            lambda: lacking(lambda: loaded("own/model")),
            lambda: brings("transformers", "transformers"),
        ),
        Row(
            "or give its folder",
            lambda tmp: downloaded(tmp, "own/model"),
            lambda tmp: downloaded(tmp, "own/model", download=True),
            lambda tmp: loaded(folder(tmp)),
        ),
        *(
            Elsewhere(says, f"{FOUNDATION}test_folders_of_transformers")
            for says in (
                "convert its weights with transformers",
                "trust=True runs it",
                "lacks weights of its own model",
            )
        ),
        Elsewhere("pools its tokens", TEXTS),
    ],
    "selftrain/networks/by_name.py": [
        Row(
            "is a network of timm",
            lambda: lacking(lambda: make_encoder(f"timm/{OTHER}", "image", (3, 64, 64)), by_name),
            lambda: brings("timm", "timm"),
        ),
        Elsewhere("read them with another size=", f"{BY_NAME}test_what_cannot_be_taken_is_refused_by_name"),
    ],
    "selftrain/cli/compare_runs.py": [Elsewhere("has no pictures in color", COLORS)],
    "selftrain/networks/timm.py": [
        Row(
            "masked stages need a vision transformer",
            lambda: TimmEncoder(nn.Linear(3, 4)),
            lambda: TimmEncoder(timm().create_model(PLAIN)),
            lambda: FeatureEncoder(nn.Linear(3, 4), (3,)),
            lambda: ConvNetEncoder(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten()), (3, 8, 8)),
        ),
        Row(
            "has no feature map of 2 x 2 cells",
            lambda: ConvNetEncoder(nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten()), (3, 8, 8)),
            lambda: ConvNetEncoder(nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten()), (3, 16, 16)),
            lambda: ConvNetEncoder(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten()), (3, 8, 8)),
            lambda: FeatureEncoder(nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten()), (3, 8, 8)),
        ),
        Elsewhere(
            "mixes places in layers", f"{CONVNETS}test_what_tells_kept_cells_of_hidden_ones_is_refused_before_a_run"
        ),
        Elsewhere("for 2 images; an encoder gives features", f"{CONVNETS}test_what_has_no_places_is_refused"),
    ],
}
