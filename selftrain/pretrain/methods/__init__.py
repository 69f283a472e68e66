"""Stages with a name, one file a paper: each is a choice of the parts in ``selftrain.pretrain``, which exports them."""
