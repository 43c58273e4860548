"""The jobs that compress a trained network. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Methods of one family that compress a trained network in one job, each at its ``levels``, or all at ``level``."""

    family: str
    level: str
    levels: dict[str, list[str]]

    @property
    def name(self) -> str:
        """Its name in rules and logs."""
        return f"{self.family}_{self.level}" if self.level else self.family

    @property
    def tables(self) -> dict[str, str]:
        """The table of metrics of each method, within the folder of the training."""
        name = f"metrics_{self.level}" if self.level else "metrics"
        return {method: f"{method}/{name}.csv" for method in self.levels}

    @property
    def energy(self) -> list[str]:
        """The table of the energy of each method that trains again, within the folder of the training."""
        return [f"{method}/energy_{self.level}.csv" for method in self.levels] if self.level else []

    @property
    def packed(self) -> list[str]:
        """The packed files, within the folder of the training."""
        return [f"{method}/{level}.safetensors" for method, levels in self.levels.items() for level in levels]
