"""Settings of all tests and of the jobs that they start: torch has one thread.

On small tensors, and beside the other processes of pytest-xdist, more would only wait for each other.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
