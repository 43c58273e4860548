"""The jobs that compress a trained network. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What one job does to a trained network: by which methods it is compressed, and at which ``levels`` of each.

    Where a method ``retrains``, all have the same one level.
    """

    name: str
    levels: dict[str, list[str]]
    retrains: bool = False

    @property
    def table(self) -> str:
        """Its table of metrics, within the folder of the training."""
        return f"{self.name}/metrics.csv"

    def alone(self, method: str, level: str) -> Job | None:
        """The job of one of its levels alone; None where it has no such level."""
        has_it = level in self.levels.get(method, ())
        return Job(f"{method}_{level}", {method: [level]}, self.retrains) if has_it else None
