"""What Python and the command line share: what names stand for, and the networks, strategies and stages they build.

The engine knows objects alone; here names, data and what fits them come together.
"""
