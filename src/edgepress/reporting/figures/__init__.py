"""The figures of the report. Each function takes rows of metrics (or another table) and a data set, and returns a
matplotlib figure.

Statistics come from ``results.over_seeds`` and ``findings``, as in tables and sentences; figures only draw them.
"""

from edgepress.reporting.figures.claims import evidence
from edgepress.reporting.figures.devices import flash, on_microcontrollers
from edgepress.reporting.figures.fronts import breakdown, gains, layer_bits
from edgepress.reporting.figures.pairs import qat, quantize_prune
from edgepress.reporting.figures.progress import recipes
from edgepress.reporting.figures.size import pareto
from edgepress.reporting.figures.sweeps import change, precision, pruning
from edgepress.reporting.figures.training import training_curves

__all__ = [
    "breakdown",
    "change",
    "evidence",
    "flash",
    "gains",
    "layer_bits",
    "on_microcontrollers",
    "pareto",
    "precision",
    "pruning",
    "qat",
    "quantize_prune",
    "recipes",
    "training_curves",
]
