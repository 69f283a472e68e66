"""Settings of every test: one thread, so that times and sums do not depend on the machine."""

import torch

torch.set_num_threads(1)
