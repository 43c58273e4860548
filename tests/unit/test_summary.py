"""Remarks on the first page."""

from edgepress.reporting import summary


def row(network, method="nearest_uniform", **more):
    return {"dataset": "toy", "network": network, "seed": "0", "method": method, "status": "ok", "note": "", **more}


def test_what_is_left_out_is_said_once_a_network():
    note = "98.8 % of the weights are in layers that no method compresses: rnn (LSTM)"
    lost = {"status": "failed", "reason": "its training failed: no layer"}
    rows = [row("plain"), row("lstm", "fp32", note=note), row("lstm", note=note), row("odd", "fp32", **lost),
            row("odd", **lost), {name: value for name, value in row("old").items() if name != "note"}]  # fmt: skip
    assert summary.notes(rows) == [
        f"**lstm** on **toy**: {note}.",
        "**odd** on **toy**, seed 0: no result: its training failed: no layer.",
    ]
