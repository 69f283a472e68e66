"""Labels of the pile: the ledger of pseudo-labels, their review by a person, and tables of a frozen teacher's labels.

A refinement of a table returns a new one and leaves the old one as it is; refinements are chained:
``label_pile(teacher, pile).above(0.3).balanced(130).hard()``.
"""
