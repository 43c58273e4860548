import csv
import io

import pytest

from edgepress import metrics
from edgepress.jobs import Job
from edgepress.metrics import Cell, Step

HEADER = (
    "dataset,network,seed,method,family,level,bits,act_bits,sparsity_target,draw,split,loss,accuracy,top5,mse,mae,r2,"
    "bytes,bits_per_weight,compression_ratio,sparsity,macs,bops,status,reason,balanced_accuracy,steps,examples,majority,add_bits,"
    "tensor_bytes,note,codebook,rounding,granularity,when,options\n"
)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_stand_in_the_promised_order():
    assert metrics.to_csv([]) == HEADER


def test_what_a_row_does_not_say_is_empty():
    assert metrics.to_csv([{"status": "ok", "dataset": "digits", "act_bits": None}]).splitlines()[1] == (
        "digits" + "," * 23 + "ok" + "," * 13
    )


def test_numbers_keep_full_precision():
    values = [0.1 + 0.2, 1 / 3, 1e-300, 123456789.123456789]
    rows = read(metrics.to_csv([{"loss": value, "bops": 2**60 + 1} for value in values]))
    assert [float(row["loss"]) for row in rows] == values
    assert {int(row["bops"]) for row in rows} == {2**60 + 1}


def test_a_column_that_is_not_declared_is_rejected():
    with pytest.raises(ValueError, match="colour"):
        metrics.to_csv([{"colour": "red"}])


def test_awkward_text_survives(tmp_path):
    reason = 'a "quoted", comma\nand a second line – with a dash'
    path = tmp_path / "metrics.csv"
    path.write_text(metrics.to_csv([{"reason": reason}]), encoding="utf-8", newline="")
    assert metrics.from_csv(path)[0]["reason"] == reason


def test_join_keeps_the_order_given_and_the_bytes(tmp_path):
    rows = [{"dataset": name, "loss": 1 / 3, "reason": "a, b"} for name in "cab"]
    paths = []
    for row in rows:
        paths.append(tmp_path / f"{row['dataset']}.csv")
        paths[-1].write_text(metrics.to_csv([row]))
    assert metrics.join(paths) == metrics.to_csv(rows)


def cell(tmp_path, method, log=None):
    paths = (str(tmp_path / f"{method}{ending}") for ending in ("", ".csv", ".log"))
    cell = Cell("digits", "cnn", 1, method, *paths)
    if log is not None:
        (tmp_path / f"{method}.log").write_text(log)
    return cell


def test_a_failed_run_keeps_what_is_there_and_says_what_is_not(tmp_path):
    there = cell(tmp_path, "midrise")
    (tmp_path / "midrise.csv").write_text(metrics.to_csv([{"method": "midrise", "split": s} for s in ("val", "test")]))
    broken = cell(tmp_path, "random", "Traceback …\nfailed: ArithmeticError: training diverged\n")
    never = cell(tmp_path, "magnitude")
    metrics.collect_what_is_there(tmp_path / "all.csv", [broken, there, never])
    assert metrics.failures([broken, there, never]) == [
        f"{tmp_path / 'random'}: ArithmeticError: training diverged",
        f"{tmp_path / 'magnitude'}: {never.why_missing()}",
    ]
    rows = metrics.from_csv(tmp_path / "all.csv")
    assert [(row["method"], row["split"], row["status"]) for row in rows] == [
        ("random", "", "failed"),
        ("midrise", "val", ""),
        ("midrise", "test", ""),
        ("magnitude", "", "failed"),
    ]
    assert rows[0]["reason"] == "ArithmeticError: training diverged"
    assert rows[3]["reason"].startswith("it was stopped")
    assert (rows[0]["dataset"], rows[0]["network"], rows[0]["seed"]) == ("digits", "cnn", "1")


def test_progress_is_not_taken_for_the_error_of_a_job_that_was_killed(tmp_path):
    killed = cell(tmp_path, "random", "random s50 3,000 bytes\nrandom s90 1,200 bytes\n")
    metrics.collect_what_is_there(tmp_path / "all.csv", [killed])
    assert metrics.from_csv(tmp_path / "all.csv")[0]["reason"].startswith("its process was killed")


def test_the_reason_is_the_first_failure_on_the_way(tmp_path):
    data = [Step(str(tmp_path / "raw"), str(tmp_path / "fetch.log"), "fetching mv.dat"),
            Step(str(tmp_path / "data"), str(tmp_path / "prepare.log"), "preparing its data set")]  # fmt: skip
    training = {"dataset": "mv", "network": "dnn_simple", "seed": 0}
    cells = list(metrics.cells(training, [Job("pruning", {"random": ["s50"]})], str(tmp_path), str(tmp_path), data))

    def reasons(**logged):
        for name, text in logged.items():
            (tmp_path / f"{name}.log").write_text(text)
        return [cell.why_missing() for cell in cells]

    nothing = "it was stopped, something that it needs failed, or there was no room for its files"
    assert reasons() == [nothing] * 2
    assert reasons(pruning="failed: an earlier run\n")[0] == nothing
    assert reasons(fetch="failed: no mirror\n") == ["fetching mv.dat failed: no mirror"] * 2
    (tmp_path / "raw").touch()
    assert reasons(prepare="failed: 7 columns\n") == ["preparing its data set failed: 7 columns"] * 2
    (tmp_path / "data").touch()
    assert reasons(train="failed: diverged\n") == ["its training failed: diverged"] * 2
    (tmp_path / "fp32").mkdir()
    (tmp_path / "fp32/metrics.csv").touch()
    assert reasons() == [None, "an earlier run"]
    (tmp_path / "pruning").mkdir()
    (tmp_path / "pruning/metrics.csv").touch()
    (tmp_path / "raw").unlink()
    (tmp_path / "data").unlink()  # no longer needed
    assert reasons() == [None, None]
    (tmp_path / "fp32/metrics.csv").unlink()
    assert all(reasons())


def test_timings_come_from_benchmark_files_and_logs(tmp_path):
    (tmp_path / "train.tsv").write_text("s\th:m:s\tmax_rss\tcpu_time\n1.5\t0:00:01\t21.0\t.05\n")
    (tmp_path / "train.log").write_text("took 1.25 s of CPU and 321 MB of memory at most\ndone\n")
    (tmp_path / "failed.log").write_text("failed: no room\n")
    files = [("train.tsv", "train.log"), ("train.tsv", "failed.log"), ("absent.tsv", "train.log")]
    jobs = [
        {"dataset": "digits", "network": "cnn", "seed": seed, "job": "train"}
        | {"benchmark": str(tmp_path / benchmark), "log": str(tmp_path / log)}
        for seed, (benchmark, log) in enumerate(files)
    ]
    assert metrics.timings(jobs) == (
        "dataset,network,seed,job,seconds,cpu_seconds,max_rss_mb\ndigits,cnn,0,train,1.5,1.25,321\n"
        "digits,cnn,1,train,1.5,,\n"
    )


def test_tables_of_other_columns_are_not_joined(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("y,x\n1,2\n")
    with pytest.raises(ValueError, match=r"b\.csv has other columns"):
        metrics.join([tmp_path / "a.csv", tmp_path / "b.csv"])
