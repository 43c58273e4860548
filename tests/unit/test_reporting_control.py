import matplotlib as mpl
import pandas as pd
import pytest

from edgepress.reporting import figures, findings, retraining

from .report_rows import about, rows

mpl.use("Agg")


def test_training_again_stands_beside_training_on_in_float32():
    methods = {"lsq": about(1), "nearest_uniform": about(3)}
    without = rows(methods)
    told = {"method": "a_chain_of_that_step", "family": "qat", "steps": "qat_control"}
    control = without[without.method == "fp32"].assign(**told)
    control[["accuracy", "quality"]] += 0.02
    both = pd.concat([without, control])
    table = retraining.trained_again(both)
    measured = table[table.method == "a_chain_of_that_step"].iloc[0]
    assert measured.level == "w32" and (table.control == measured.test).all()
    assert measured.change == pytest.approx(2)
    assert retraining.trained_again(without).control.isna().all()
    ours, theirs = (next(f for f in findings.all_findings(t) if f.name == "training_again") for t in (both, without))
    assert ours.sentence == theirs.sentence
    assert len(figures.qat(both, both.dataset.iloc[0]).axes) == len(figures.qat(without, both.dataset.iloc[0]).axes)
