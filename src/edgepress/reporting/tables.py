"""The tables of the report, as CSV with plain numbers, and as formatted Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pandas as pd

from edgepress.files import write_atomically
from edgepress.reporting import numbers, selection
from edgepress.reporting.costs import Cost, CostTables, taken
from edgepress.reporting.energy import payback, training_bill
from edgepress.reporting.numbers import with_interval
from edgepress.reporting.results import BALANCED, MSE, TOLERANCE, Quality, over_seeds, quality_of, retrained
from edgepress.reporting.rivals import Rivals

BUDGETS = ("1/2", "1/4", "1/8", "1/16")  # fractions of full precision's cost
NONE = "none"  # instead of a method if none is within a budget
NONE_WORKS, NOT_SHOWN = "none works", "not shown on test"  # instead of a method that must not be recommended
SMALLEST = f"Smallest files within {100 * TOLERANCE:g} % of full precision"  # title of that table
_INSTEAD = {
    "least_bad": "least bad",
    "candidate": "smallest on val",
}  # columns with the method not recommended, and their labels
_DECIDED = ["division", "cost", "budget", "limit", "method", "least_bad", "level", "spent", "source"]
_MULTIPOINT = "multipoint"
_MOST_POINT_BITS = 8
_ENDS = ("", "_low", "_high")
_PLAIN = (
    *("limit", "spent", "co2e_g", "inferences"),
    *("part_ram", "part_flash", "flash", "ram", "instructions", "instructions_per_mac", "decoding", "from_exact"),
)  # columns of numbers of any size
_HEADINGS = {
    "part": "microcontroller",
    "part_ram": "its RAM",
    "part_flash": "its flash",
    "instructions_per_mac": "per MAC",
    "kwh": "kWh",
    "co2e_g": "g CO2e",
    "inferences": "inferences until paid back",
    "bits": "nominal bits",
    "tied": "not told apart from",
}


def full_precision(metrics: pd.DataFrame) -> pd.DataFrame:
    """Quality on train and test and costs of each trained network before compression.

    Balanced accuracy has separate rows if classes are so unequal that it differs by a percentage point.
    """
    tables = []
    for dataset, rows in metrics[metrics.method == "fp32"].groupby("dataset", sort=False):
        costs = rows.groupby("network", sort=False)[["macs", "bits_per_weight", "bytes"]].first()
        parameters = (8 * costs.bytes / costs.bits_per_weight).round().astype(int)
        measures = [quality_of(rows)]
        if "balanced_accuracy" in rows and (rows.accuracy - rows.balanced_accuracy).abs().max() >= TOLERANCE:
            measures.append(BALANCED)
        for quality in measures:
            means = _with_train(over_seeds(rows, quality))
            means["macs"] = means.network.map(costs.macs)
            means["parameters"] = means.network.map(parameters)
            tables.append(with_quality(means, str(dataset), quality, ["parameters", "macs", "bytes"]))
    return pd.concat(tables, ignore_index=True)


def multipoint(metrics: pd.DataFrame) -> pd.DataFrame:
    """Multi-point quantization from 8 bits per vector down: quality, bytes and bits per weight."""
    tables = []
    rows = metrics[(metrics.method == "fp32") | (metrics.family == _MULTIPOINT)]
    for dataset in rows.dataset[rows.family == _MULTIPOINT].unique():
        of_set = rows[rows.dataset == dataset]
        means = _with_train(over_seeds(of_set))
        means = means[(means.family == _MULTIPOINT) & (means.bits <= _MOST_POINT_BITS)]
        means = means.sort_values(["network", "method", "bits"], ascending=[False, True, False])
        columns = ["method", "bits", "bytes", "bits_per_weight"]
        tables.append(with_quality(means, dataset, quality_of(of_set), columns, changed=True))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["dataset", "network", "method"])


def best_at_each_precision(metrics: pd.DataFrame) -> pd.DataFrame:
    """The best method on val at each nominal number of bits, with its quality on test; ``least_bad`` names it if none
    works.
    """

    def choose(rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
        return without_rejected(selection.best_at_each_precision(rows, dataset), "works", NONE_WORKS, "least_bad")

    columns = ["bits", "method", "least_bad", "bytes", "bits_per_weight", "compression_ratio"]
    return _chosen(metrics, choose, columns)


def smallest_within_one_percent(metrics: pd.DataFrame) -> pd.DataFrame:
    """The smallest file within ``results.TOLERATED`` on val, with its quality on test; ``candidate`` names its method
    if the interval of its change on test exceeds that.
    """

    def choose(rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
        return without_rejected(selection.smallest_within_tolerance(rows, dataset), "shown", NOT_SHOWN, "candidate")

    return _chosen(metrics, choose, ["method", "candidate", "level", "bytes", "compression_ratio"])


def without_rejected(table: pd.DataFrame, recommended: str, otherwise: str, instead: str) -> pd.DataFrame:
    """Move methods that are not ``recommended`` to the column ``instead``."""
    kept = table[recommended].astype(bool)
    moved = {instead: table.method.mask(kept, "").astype("string")}
    return table.assign(**moved, method=table.method.where(kept, otherwise).astype("string"))


def decide(metrics: pd.DataFrame, costs: CostTables) -> pd.DataFrame:
    """The best method on val for each network, cost and budget, with its quality on test.

    A budget is a fraction of full precision's cost. The ``closed`` division has methods without fine-tuning, ``open``
    those with it. The method is ``none`` if no level is within the budget, and ``none works`` if none of these works
    (``results.WORKS``); then ``least_bad`` is the best of them.
    """
    tables = [pd.DataFrame(columns=["dataset", "network", *_DECIDED])]
    for _, rows in metrics.groupby("dataset", sort=False):
        joined = costs.join(over_seeds(rows))
        again, rivals = retrained(joined), Rivals.of(rows)
        divisions = {"closed": joined[~again], "open": joined[again | (joined.method == "fp32")]}
        found = pd.concat(
            _within(points, cost, division, rivals) for division, points in divisions.items() for cost in taken(joined)
        )
        tables.append(found.sort_values("network", kind="stable", key=_in_order(joined.network)))
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def _in_order(names: pd.Series) -> Callable[[pd.Series], pd.Series]:
    """A sort key: the order of first appearance."""
    places = {name: place for place, name in enumerate(names.unique())}
    return lambda column: column.map(places)


def _within(points: pd.DataFrame, cost: Cost, division: str, rivals: Rivals) -> pd.DataFrame:
    """The best within each budget of one cost, among rows of one data set and division."""
    shares = [float(Fraction(budget)) for budget in BUDGETS]
    best = selection.best_within(points, rivals.quality, cost.column, shares, rivals)
    best["budget"] = best.share.map(dict(zip(shares, BUDGETS, strict=True)))
    sources = points[points.method == "fp32"].groupby("network")[f"{cost.column}_source"].first()
    best["source"] = best.network.map(sources)
    best["level"] = best.level.where(best.method.notna(), "").astype("string")
    best["works"] = best.works.where(best.method.notna(), True)
    best["method"] = best.method.where(best.method.notna(), NONE)
    best = without_rejected(best, "works", NONE_WORKS, "least_bad")
    best = best.assign(division=division, cost=cost.name, spent=best[cost.column])
    return with_quality(best, points.dataset.iloc[0], rivals.quality, _DECIDED, changed=True)


def glance(decided: pd.DataFrame) -> pd.DataFrame:
    """``decide`` in wide form: one row per network, cost and division, one column per budget, with method and level
    above the quality on test.
    """
    place = ["dataset", "network", "division", "cost", "measure"]
    if decided.empty:
        return pd.DataFrame(columns=[*place, *BUDGETS])
    shown = readable(decided)
    chosen = [f"{row.method} {row.level}\n{row.test}".strip() for row in shown.itertuples()]
    wide = shown.assign(chosen=chosen).pivot_table(
        index=place, columns="budget", values="chosen", aggfunc="first", sort=False
    )
    return wide.reindex(columns=BUDGETS).reset_index().rename_axis(columns=None)


def latency(costs: CostTables) -> pd.DataFrame:
    """Formatted inference times in each mode with the speed-up over float32; how they were computed (``layers``: in
    integers + in float32), quality, and the largest difference of codes from exact arithmetic.
    """
    table = costs.latency
    ours = table.peer.isna()
    float32 = table[ours & (table.level == "w32")].set_index(["dataset", "network", "batch"]).median_ms
    times = table.join(float32.rename("float32_ms"), on=["dataset", "network", "batch"])
    ratio = times.float32_ms / times.median_ms
    shown = table[["dataset", "network", "level", "mode", "batch"]].fillna({"mode": ""})
    if not ours.all():
        shown.insert(2, "peer", table.peer.fillna(""))
    ends = zip(table.median_ms, table.q1_ms, table.q3_ms, strict=True)
    shown["ms"] = [with_interval(*values) for values in ends]
    shown["times"] = ["" if pd.isna(value) else f"{value:.2f} ×" for value in ratio]
    for name in ("instructions", "products"):
        shown[name] = table[name].fillna("")
    shown["layers"] = [_layers(*counts) for counts in zip(table.integer_layers, table.float_layers, strict=True)]
    shown["quality"] = ["" if pd.isna(value) else f"{value:.4f}" for value in table.accuracy.fillna(table.r2)]
    shown["code_difference"] = ["" if pd.isna(value) else f"{value:.0f}" for value in table.max_code_difference]
    shown["source"] = table.source.fillna("unavailable")
    shown["reason"] = table.reason.fillna("")
    untimed = shown.ms == ""
    shown["batch"] = shown.batch.astype("string").where(~untimed, "")
    return readable(shown.drop_duplicates())


def _layers(integer: float, floating: float) -> str:
    """The number of layers computed in integers + in float32."""
    return "" if pd.isna(integer) else f"{integer:.0f} + {floating:.0f}"


def trainings(costs: CostTables) -> pd.DataFrame:
    """The energy of each method's trainings, all seeds together, and the number of inferences on the modelled
    accelerator that pay for it; ``payback_source`` and ``reason`` give the source, or why it is unknown.
    """
    place = ["dataset", "network", "method", "level"]
    bill = training_bill(costs.energy)[[*place, "seeds", "seconds", "kwh", "co2e_g", "country", "source"]]
    paid = payback(costs.energy, costs.hardware).set_index(place)[["inferences", "source", "reason"]]
    joined = bill.join(paid.rename(columns={"source": "payback_source"}), on=place)
    return joined.fillna({"payback_source": "", "reason": ""})


def _chosen(
    metrics: pd.DataFrame, choose: Callable[[pd.DataFrame, str], pd.DataFrame], columns: list[str]
) -> pd.DataFrame:
    tables = []
    for dataset in metrics.dataset.unique():
        quality = quality_of(metrics[metrics.dataset == dataset])
        tables.append(with_quality(choose(metrics, dataset), dataset, quality, columns, changed=True))
    return pd.concat(tables, ignore_index=True)


def _with_train(means: pd.DataFrame) -> pd.DataFrame:
    """The test rows of ``over_seeds``, with their quality on train as ``train``; NaN if not measured."""
    place = ["network", "method", "level"]
    train = means[means.split == "train"].set_index(place)[[f"quality{end}" for end in _ENDS]]
    train.columns = [f"train{end}" for end in _ENDS]
    return means[means.split == "test"].join(train, on=place)


def with_quality(
    rows: pd.DataFrame, dataset: str, quality: Quality, columns: list[str], changed: bool = False
) -> pd.DataFrame:
    """A table of the network, ``columns``, and quality in its unit, with intervals; with changes if ``changed``."""
    table = rows[["network", *columns]].copy()
    table.insert(0, "dataset", dataset)
    table["measure"] = quality.axis_label
    for end in _ENDS:
        if "train" in rows:
            table[f"train{end}"] = quality.scale * rows[f"train{end}"]
    for end in _ENDS:
        table[f"test{end}"] = quality.scale * rows[f"quality{end}"]
    if changed:
        for end in _ENDS:
            table[f"change{end}"] = rows[f"change{end}"]
    for name in ("tied", "seeds", "examples"):
        if name in rows:
            table[name] = pd.to_numeric(rows[name]).astype("Int64")
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The formatted table: mean and interval in one column, thousands separators, names without underscores."""
    shown = table.copy()
    for name in ("train", "test", "change", "difference"):
        if name in shown:
            is_error = shown.measure == MSE.axis_label
            ends = shown.pop(f"{name}_low"), shown.pop(f"{name}_high")
            compared = name in ("change", "difference")
            shown[name] = [
                with_interval(mean, low, high, signs=compared and not error, ratio=compared and error)
                for mean, low, high, error in zip(shown[name], *ends, is_error, strict=True)
            ]
    for name in ("bytes", "parameters", "macs"):
        if name in shown:
            shown[name] = shown[name].map("{:,.0f}".format)
    for name in _PLAIN:
        if name in shown:  # of latency, instructions are a name
            shown[name] = [value if isinstance(value, str) else numbers.plain(value) for value in shown[name]]
    if "compression_ratio" in shown:
        shown["compression_ratio"] = shown.compression_ratio.map("{:.1f} ×".format)
    if "bits_per_weight" in shown:
        shown["bits_per_weight"] = shown.bits_per_weight.map("{:.2f}".format)
    for name in ("after_training", "control", "target", "test_quality", "steps", "seconds", "kwh"):
        if name in shown:
            shown[name] = ["" if pd.isna(value) else f"{value:,.4g}" for value in shown[name]]
    if "bits" in shown:
        shown["bits"] = shown.bits.astype(int)
    for name in ("seeds", "examples", "tied"):
        if name in shown:
            shown[name] = ["" if pd.isna(count) else f"{count:,.0f}" for count in shown[name]]
    if "level" in shown:
        shown["level"] = shown.level.fillna("")
    for name, word in _INSTEAD.items():
        if name in shown:
            others = shown.pop(name).astype("string").fillna("")
            shown["method"] = shown.method.where(others == "", shown.method + f"; {word}: " + others)
    for name in ("dataset", "network", "method", "against", "chosen", "recipe", "peer"):
        if name in shown:
            shown[name] = shown[name].fillna("").str.replace("_", " ")
    return shown.rename(columns=heading)


def heading(column: str) -> str:
    """The heading of a column."""
    return _HEADINGS.get(column, column.replace("_", " "))


def write(table: pd.DataFrame, path: str | Path) -> None:
    """Write ``path``.csv with plain numbers, and formatted ``path``.md and ``path``.tex."""
    shown = readable(table)
    write_atomically(f"{path}.csv", table.to_csv(index=False))
    write_atomically(f"{path}.md", shown.to_markdown(index=False, disable_numparse=True) + "\n")
    write_atomically(f"{path}.tex", _latex(shown))


def _latex(shown: pd.DataFrame) -> str:
    def escaped(value: object) -> str:
        return str(value).replace("%", r"\%").replace("×", r"$\times$").replace("−", "$-$")

    return shown.map(escaped).rename(columns=escaped).to_latex(index=False, escape=False)
