"""Pipelines: stages that hand weights and labels on, each in a folder of its own, continued where they stopped.

>>> from selftrain import Classification, learner, toy
>>> from selftrain.pipeline import Labeling, NoisyStudent, Stage, Supervised, run_pipeline
>>> task, make = Classification(2), learner(lambda: toy.mlp(30), lr=0.01)
>>> run = run_pipeline(
...     [
...         Stage("teacher", lambda past: Supervised(task, make), steps=5),
...         Labeling("label", by="teacher", refine=lambda labels: labels.above(0.3)),
...         Stage("student", lambda past: NoisyStudent(task, make, labels=past.labels["label"]), steps=5),
...     ],
...     toy.clouds(),
... )
>>> [row["name"] for row in run.rows]
['teacher', 'label', 'student']
"""

from selftrain.engine.run import Figures as Figures
from selftrain.pipeline.folder import LABELS as LABELS
from selftrain.pipeline.folder import PIPELINE as PIPELINE
from selftrain.pipeline.folder import REPORT as REPORT
from selftrain.pipeline.folder import TABLE as TABLE
from selftrain.pipeline.labeling import Labeling
from selftrain.pipeline.labeling import Refine as Refine
from selftrain.pipeline.out_of_fold import out_of_fold as out_of_fold
from selftrain.pipeline.presets import MakeFrom as MakeFrom
from selftrain.pipeline.presets import MakeStrategy as MakeStrategy
from selftrain.pipeline.presets import complementary, curriculum_labeling, noisy_student, pseudo_first, st_plus_plus
from selftrain.pipeline.rebalancing import crest
from selftrain.pipeline.reliable import ReliableLabeling
from selftrain.pipeline.running import Part, PipelineRun, run_pipeline
from selftrain.pipeline.stages import OWN_OPTIONS as OWN_OPTIONS
from selftrain.pipeline.stages import Best, Stage
from selftrain.pipeline.stages import Which as Which
from selftrain.pipeline.state import Past
from selftrain.pipeline.state import Row as Row
from selftrain.strategies.curriculum_labeling import CurriculumLabeling
from selftrain.strategies.noisy_student import NoisyStudent
from selftrain.strategies.supervised import Supervised

__all__ = [
    "Best",
    "CurriculumLabeling",
    "Labeling",
    "NoisyStudent",
    "Part",
    "Past",
    "PipelineRun",
    "ReliableLabeling",
    "Stage",
    "Supervised",
    "complementary",
    "crest",
    "curriculum_labeling",
    "noisy_student",
    "pseudo_first",
    "run_pipeline",
    "st_plus_plus",
]
