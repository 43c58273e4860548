"""What holds for every test, and for the jobs that tests start: torch has one thread.

On small tensors, and beside the other processes of pytest-xdist, more would only wait for each other.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
