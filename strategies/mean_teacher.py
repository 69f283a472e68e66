"""Mean Teacher: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.

Algorithm: 1. the teacher predicts the weak view; 2. the student predicts labels and the strong view; 3. supervised loss
+ w(t) x squared difference between student and teacher; 4. student step; 5. the teacher moves towards the student.

Left out: the two-headed variant; noise inside the teacher (ours is in evaluation mode); consistency on labeled samples.
"""

from __future__ import annotations

from typing import Any, Literal

from selftrain.solo import TeacherGuided
from selftrain.strategy import MakeLearner
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class MeanTeacher(TeacherGuided):
    """Make the student agree with the moving average of itself.

    Source: the paper's eq. 1 and 2. Defaults: squared difference of probabilities and sigmoid ramp-up as there; weight
    10 on the mean over classes (the paper's 100 x share of labels, re-implementations' 50).

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        order: ``"after"``: the teacher follows the updated student (the paper); ``"before"``: it takes in the student
            before the step, the self-training baseline of FST (Du et al. 2022).
        settings: See ``TeacherGuided``: decay, unlabeled_weight, rampup, distance, select, hard, temperature,
            together, buffers.
    """

    def __init__(
        self, task: Task, make_learner: MakeLearner, *, order: Literal["after", "before"] = "after", **settings: Any
    ) -> None:
        super().__init__(task, make_learner, **settings)
        if order not in ("after", "before"):
            raise ValueError(f"order is {order!r}; choose 'after' or 'before'")
        self.order = order

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under the teacher's labels, one teacher step."""
        if self.order == "before":
            self.teacher.update(self.student.model)
        outcome = self.objective(batch, clock)
        if self.student.update(outcome.loss) and self.order == "after":
            self.teacher.update(self.student.model)
        return outcome.report()
