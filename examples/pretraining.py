"""Pretraining only: fill an encoder from images without labels, judge it, hand on its weights.

python examples/pretraining.py [--fast] [--out DIR]

LeJEPA on scikit-learn's digits. Prints logistic regression on the frozen features of the encoder beside raw pixels,
their principal components, the same encoder untrained, and the same network trained on all labels from scratch, each
with few and with all labels: only an encoder that beats raw input and its own start has learned something of use.
Writes DIR/lejepa/export.safetensors and its card. About a minute on a core (--fast: some 5).
"""

from __future__ import annotations

import torch
from common import options, train

import selftrain as st
from selftrain import data, pretrain
from selftrain.evaluation import probing


def make_encoder() -> torch.nn.Module:
    """A small ConvNet; ``pretrain.ViT`` or a model of timm would do as well."""
    return st.ConvEncoder(size=8, embed_dim=64)


def main() -> None:
    """Pretrain, judge, say what to do with it."""
    chosen = options(__doc__, "pretraining", steps=400, fast=15)
    views = data.TensorViews(strong=data.Strong(operations=2, point=("brightness", "contrast")))
    pile = data.load("digits", labels=100, seed=chosen.seed, views=views)
    plan = st.BatchPlan(labeled=1, unlabeled_ratio=128, seed=chosen.seed)  # a stage without labels reads no labeled one
    run = train("lejepa", lambda: pretrain.LeJEPA(make_encoder()), pile, chosen, plan)
    print({name: round(value, 2) for name, value in run.last["unlabeled"].items()})  # rankme near 1: collapse

    network = st.Classifier(make_encoder(), classes=10)
    st.load_weights(network, run.export())  # into network.encoder; the head stays as it is
    torch.manual_seed(chosen.seed)
    report = probing.report(
        network.encoder, pile, fresh=make_encoder, part="test", draws=3, scratch_steps=chosen.steps, seed=chosen.seed
    )
    print(report.table())
    print(f"go on with it: st.learner(network, init_from={str(chosen.out / 'lejepa')!r})")


if __name__ == "__main__":
    main()
