"""Settings of every test: one thread, so that times and sums do not depend on the machine."""

import setuptools  # noqa: F401  torch.compile needs it to be there before distutils, which other libraries load
import torch

torch.set_num_threads(1)
