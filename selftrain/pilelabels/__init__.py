"""Labels that a frozen teacher gave the whole unlabeled set: made in one pass, refined, stored, learned by a student.

A refinement returns a new table and leaves the old one as it is; refinements are chained:
``label_pile(teacher, pile).above(0.3).balanced(130).hard()``.
"""

from selftrain.pilelabels.label import figure_above, label_pile
from selftrain.pilelabels.storage import FORMAT
from selftrain.pilelabels.table import PileLabels

__all__ = ["FORMAT", "PileLabels", "figure_above", "label_pile"]
