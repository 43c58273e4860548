"""Random small networks as C, under address and undefined-behaviour sanitizers, against exact arithmetic.

``python -m tests.devices.fuzz 500`` tries seeds 0 to 499 and says how many were exact, and which were refused, and why.
"""

import sys
from collections import Counter

import numpy as np
import torch

from edgepress.targets import NotServedError, c
from edgepress.targets.c import host
from edgepress.targets.c.reference import Reference, raw_inputs

from ..random_networks import network


def main(count: int) -> int:
    """The number of networks whose numbers differ; a sanitizer's complaint is an error."""
    found: Counter[str] = Counter()
    for seed in range(count):
        net, stored, inputs = network(seed)
        try:
            given, program = c.made(net, stored, tuple(inputs.shape[1:]))
            files = c.exported(given, program, inputs)
        except NotServedError as error:
            found[f"refused, {error}"] += 1
            continue
        numbers = host.run(files, raw_inputs(program, inputs), ("-O1", *host.SANITIZERS))
        same = np.array_equal(numbers, Reference(given, program).raw(inputs))
        found["exact" if same else f"seed {seed} differs"] += 1
    for what, times in found.most_common():
        print(f"{times:6} {what}")
    return sum(times for what, times in found.items() if what.endswith("differs"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(int(sys.argv[1])) > 0)
