"""Faults of messages: a remedy that does not work, a message that names one unnoticed."""

from __future__ import annotations

from fault import Mutant

FOLLOWED = "test_remedies.py::test_the_remedy_works"

MUTANTS: list[Mutant] = [
    Mutant(
        "a column that is left out is read all the same",
        "data/readers/tabular.py",
        "            cells[name], is_date, unread[name] = [None] * len(values), False, fault",
        "            raise fault from error",
        "test_data_tables.py::test_a_column_of_no_cells_may_be_left_out",
    ),
    Mutant(
        "a batch of as many labels as the message asks for is refused too",
        "strategies/soft_labels.py",
        "if len(batch.labeled.x) < self.min_labeled:",
        "if len(batch.labeled.x) <= self.min_labeled:",
        f"{FOLLOWED}[strategies/soft_labels.py-raise_BatchPlan(labeled=...)]",
    ),
    Mutant(
        "a message names another remedy, which no row follows",
        "data/readers/folders.py",
        "; rename or remove it",
        "; say classes=",
        "test_remedies.py::test_every_message_with_a_remedy_has_a_row",
    ),
]
