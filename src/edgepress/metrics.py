"""The columns of metrics.csv, and rows written and read in a form that is the same from run to run."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress import logs
from edgepress.files import write_atomically

COLUMNS: dict[str, str] = {
    "dataset": "data set",
    "network": "network",
    "seed": "seed of the training",
    "method": "method of compression; `fp32` is the trained network as it is",
    "family": "family of the method; `peer` for other libraries",
    "level": "operating point: `w4` is 4-bit weights, `s50` is 50 % sparsity",
    "bits": "nominal bits a compressed weight: of each of its codes, where it has several",
    "act_bits": "bits per activation; empty if activations stay float32",
    "sparsity_target": "share of weights that the method was asked to remove, 0–1",
    "draw": "repetition of a stochastic method, from 0; always 0 for the others",
    "split": "`train`; `val`, on which things are chosen; or `test`, which is reported",
    "loss": "mean cross-entropy in nats; for regression the mean squared error",
    "accuracy": "share of examples classified right, 0–1",
    "top5": "share of examples whose class is among the five likeliest, 0–1; from 20 classes up",
    "mse": "mean squared error, in the squared unit of the target",
    "mae": "mean absolute error, in the unit of the target",
    "r2": "coefficient of determination R², 1 is perfect",
    "bytes": "size of the network's file: codes, codebooks, masks, what stays float32, and the header; for a peer that "
    "of its files",
    "bits_per_weight": "8 × bytes / number of parameters of the network as its float32 file stores it: BatchNorms "
    "folded, a shared one once; those that a method removes count, so all methods divide by the same",
    "compression_ratio": "bytes of the float32 file / bytes",
    "sparsity": "share of the weights of Linear and Conv layers that are 0, or gone with their channels, 0–1",
    "macs": "multiply-accumulates of one inference; empty where not all are counted, as `note` says",
    "bops": "bit operations of one inference: Σ MACs × bits per weight × bits per activation; empty if `macs` is",
    "status": "`ok`, `skipped` (does not apply) or `failed`",
    "reason": "why, where the status is not `ok`",
    "balanced_accuracy": "mean over the classes of the share of their examples classified right, 0–1; unlike "
    "`accuracy`, it counts a rare class as much as a common one",
    "steps": "methods that the method consists of, in order, joined by `+`: those of a chain, or its own name",
    "examples": "number of examples of the split",
    "majority": "share of these that are of their most frequent class, 0–1: the accuracy of always answering it",
    "add_bits": "fewest bits of an activation that is only added or averaged; empty where none is quantized",
    "tensor_bytes": "those of `bytes` that hold tensors; the rest is header, names and, in files of peers, the graph",
    "note": "what an `ok` row leaves out: weights in layers that no method compresses, operations that are not counted",
    "codebook": "where the levels of the weights lie, as in `uniform`. This column and those after it are the settings "
    "of the method, of a chain those of the step that quantizes, or else prunes; empty where one does not apply, and "
    "for full precision and peers",
    "rounding": "how weights come to the levels: `nearest`, `stochastic`, `dithered`, `gptq` or `adaround`",
    "granularity": "what has a codebook: a `tensor`, or an output `channel`",
    "when": "`trained` if the method fine-tunes the network, otherwise `after training`",
    "options": "all other settings, as in `pattern=2:4 score=magnitude`",
}


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = COLUMNS) -> str:
    """Rows as CSV text, columns in order, empty where a row has nothing to say; floats in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def from_csv(path: str | Path, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a CSV file, every value as text."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def join(paths: Iterable[str | Path]) -> str:
    """Tables of the same columns, the metrics of many cells, say, in the order given, as one CSV.

    They are joined as text: the rows of 100,000 cells as dicts would be many times their size.
    """
    header, bodies = ",".join(COLUMNS), []
    for number, path in enumerate(paths):
        head, _, body = Path(path).read_bytes().decode("utf-8").partition("\n")
        if number and head != header:
            raise ValueError(f"{path} has other columns than the tables before it")
        header = head
        bodies.append(body)
    return "".join([header, "\n", *bodies])


@dataclass(frozen=True)
class Step:
    """A file on the way to a cell's metrics, the log of the job that makes it, and what that job does."""

    path: str
    log: str
    does: str = ""


@dataclass(frozen=True)
class Cell:
    """A data set × network × seed × method of a run: its folder, the table of its job's metrics, and that job's log.

    Without the file of the last of the steps that ``lead`` to it, its metrics count for nothing.
    """

    dataset: str
    network: str
    seed: int
    method: str
    folder: str
    metrics: str
    log: str
    lead: tuple[Step, ...] = ()
    level: str = ""  # where its levels are jobs of their own

    def why_missing(self) -> str | None:
        """Why it has no result: the first failure on the way to it. None where it has a result."""
        steps = [*self.lead, Step(self.metrics, self.log)]
        if all(Path(step.path).exists() for step in steps[-2:]):
            return None
        for step in steps:
            reason = "" if Path(step.path).exists() else logs.failure(step.log)
            if reason:
                return f"{step.does} failed: {reason}" if step.does else reason
        return "it was stopped, something that it needs failed, or there was no room for its files"


def cells(
    training: Mapping[str, Any], jobs: Iterable[Any], results: str, log_folder: str, data: Iterable[Step] = ()
) -> Iterator[Cell]:
    """The cells of one training: full precision, and each method of ``jobs``, or each level where it is a job.

    ``training`` names dataset, network and seed; ``jobs`` are of the kind ``edgepress.jobs.Job``; ``results`` and
    ``log_folder`` are its own folders; ``data`` leads to its data set.
    """
    trained = Step(f"{results}/fp32/metrics.csv", f"{log_folder}/train.log", "its training")
    lead = (*data, trained)
    yield Cell(**training, method="fp32", folder=f"{results}/fp32", metrics=trained.path, log=trained.log, lead=lead)
    for job in jobs:
        for method, levels in job.levels.items():
            yield Cell(
                **training,
                method=method,
                folder=f"{results}/{method}",
                metrics=f"{results}/{job.table}",
                log=f"{log_folder}/{job.name}.log",
                lead=lead,
                level=levels[0] if job.retrains else "",
            )


def failures(cells: Iterable[Cell]) -> list[str]:
    """A line for each cell without result: which, and why."""
    reasons = ((cell, cell.why_missing()) for cell in cells)
    return [f"{cell.folder}/{cell.level}".rstrip("/") + f": {reason}" for cell, reason in reasons if reason is not None]


def failed_levels(path: str | Path) -> list[str]:
    """A line for each level of a metrics.csv that failed: which, and why. None where there is no such file."""
    rows = from_csv(path) if Path(path).exists() else []
    names = ("dataset", "network", "seed", "method", "level")
    told = (f"{'/'.join(row[name] for name in names)}: {row['reason']}" for row in rows if row["status"] == "failed")
    return list(dict.fromkeys(told))


def collect_what_is_there(path: str | Path, cells: Iterable[Cell]) -> None:
    """Write the metrics of a run that failed: a cell without result becomes a row that says why."""
    rows: list[dict[str, Any]] = []
    for table, of_a_job in itertools.groupby(cells, key=lambda cell: cell.metrics):
        reasons = [(cell, cell.why_missing()) for cell in of_a_job]
        if all(reason is None for _, reason in reasons):
            rows += from_csv(table)
            continue
        for cell, reason in reasons:
            identity = {name: getattr(cell, name) for name in ("dataset", "network", "seed", "method", "level")}
            rows.append({**identity, "status": "failed", "reason": reason})
    write_atomically(path, to_csv(rows))


TIMINGS = ("dataset", "network", "seed", "job", "seconds", "cpu_seconds", "max_rss_mb")


def timings(jobs: Iterable[Mapping[str, Any]]) -> str:
    """What each job took: wall seconds (Snakemake's benchmark file), CPU seconds and peak memory in MB (its log)."""
    rows: list[dict[str, Any]] = []
    for job in jobs:
        identity = {name: job[name] for name in ("dataset", "network", "seed", "job")}
        for row in from_csv(job["benchmark"], delimiter="\t") if Path(job["benchmark"]).exists() else ():
            cpu_seconds, max_rss_mb = logs.taken(job["log"])
            rows.append({**identity, "seconds": row["s"], "cpu_seconds": cpu_seconds, "max_rss_mb": max_rss_mb})
    return to_csv(rows, TIMINGS)
