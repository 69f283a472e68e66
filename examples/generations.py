"""A pipeline with generations: a teacher labels the whole pile, a student learns that, and is the next teacher.

python examples/generations.py [--fast] [--out DIR]

Noisy Student on scikit-learn's digits with 20 labels: a teacher, two generations of students on balanced pseudo-labels.
Prints the report of the pipeline, stage by stage, and the test accuracy of the last generation beside the labels alone,
trained for as many steps as all stages together. About half a minute on a core (--fast: some 8).
"""

from __future__ import annotations

from functools import partial

import torch
from common import beside, options, train

import selftrain as st
from selftrain import data, pipeline, strategies

GENERATIONS = 2


def main() -> None:
    """Run the pipeline, then the floor with the same budget."""
    chosen = options(__doc__, "generations", steps=200, fast=40)  # of each stage
    pile = data.load("digits", labels=20, seed=chosen.seed)
    task, plan = st.Classification(10), st.BatchPlan(labeled=20, unlabeled_ratio=3, seed=chosen.seed)
    learner = partial(st.learner, lambda: st.Classifier(st.ConvEncoder(size=8, embed_dim=64), 10), lr=2e-3)

    torch.manual_seed(chosen.seed)
    steps = {"teacher": chosen.steps, "student": chosen.steps}
    teacher, student = partial(strategies.Supervised, decay=0.98), partial(strategies.NoisyStudent, decay=0.98)
    made = {"generations": GENERATIONS, "teacher": teacher, "student": student}
    stages = pipeline.noisy_student(task, learner, steps=steps, **made)
    result = pipeline.run_pipeline(stages, pile, out=chosen.out / "pipeline", plan=plan, overwrite=True)
    print(result.table())

    whole = chosen._replace(steps=chosen.steps * (1 + GENERATIONS))
    floor = train("supervised", partial(strategies.Supervised, task, learner(), decay=0.98), pile, whole, plan)
    accuracies = {"supervised": floor.evaluate("test")["accuracy"]}
    print(beside(accuracies | {"last generation": result.evaluate("test")["accuracy"]}))


if __name__ == "__main__":
    main()
