"""Realistic CSV files: read correctly, or one sentence that says what is wrong, where, and what to do."""

import re

import numpy as np
import pytest
import torch

from edgepress import datasets
from edgepress.datasets import SPLITS, DataError

from .small_data import prepared

Y = [str(row % 7) for row in range(60)]
NUMBERS = [str(row) for row in range(60)]


def table(folder, columns: dict[str, list[str]], separator: str = ",", encoding: str = "utf-8") -> str:
    """A file of these columns, with quotes around fields that have the separator in them."""

    def quoted(field: str) -> str:
        return f'"{field}"' if separator in field else field

    lines = [columns, *zip(*columns.values(), strict=True)]
    text = "".join(separator.join(map(quoted, line)) + "\n" for line in lines)
    (folder / "a.csv").write_bytes(text.encode(encoding))
    return "a.csv"


def read(folder, a: list[str], **options):
    """The inputs made of the column ``a``, unscaled and in the order of the file: shape (rows, columns)."""
    order = datasets.divide(len(a), 0)
    data = prepared("csv", table(folder, {"a": a, "price": Y[: len(a)]}), **{"scaling": "none"} | options)
    inputs = torch.empty(len(a), *data.input_shape)
    for split in SPLITS:
        inputs[order[split]] = data.inputs[split]
    return inputs.squeeze(1).tolist()


def refused(folder, columns: dict[str, list[str]], separator: str = ",", encoding: str = "utf-8", **options) -> str:
    with pytest.raises(DataError) as error:
        prepared("csv", table(folder, columns, separator, encoding), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def put(values: list[str], text: str, row: int = 4) -> list[str]:
    """The column with ``text`` in its fifth row."""
    return [*values[:row], text, *values[row + 1 :]]


def test_numbers_that_are_not_written_as_programs_write_them_are_refused(folder):
    for text in ("1_300", "12 %", "12%", "$5", "€ 5", "5 €", "1 300", "1\u00a0300", "1'300", "\u22125", "(5)", "£1.5",
                 "-$5", "3,14", "1,234", "1,234.5", "1.234,5", "1.234.567"):  # fmt: skip
        for values in (put(NUMBERS, text), [text] * 60):  # one field of a column of numbers, and all
            for columns, options in (
                ({"a": values, "price": Y}, {}),
                ({"a": Y, "price": values}, {}),
                ({"a": values, "price": Y}, {"task": "classification"}),
            ):
                message = refused(folder, columns, **options)
                column = "a" if columns["a"] is values else "price"
                assert message.startswith(f"a.csv: {column} of row {values.index(text) + 1} is {text!r}, "), message
                wanted = "set `decimal: ','` or `decimal: '.'`" if "," in text else "write 1300 or 0.5, without"
                assert wanted in message and ("`categories`" if column == "a" else "`task: classification`") in message


def test_a_column_of_numbers_and_text_is_refused_unless_it_has_categories(folder, capsys):
    for text in ("abc", "5more", "12 kg", "3+", "n.k.", "0x10"):
        message = refused(folder, {"a": put(NUMBERS, text), "price": Y})
        assert f"a of row 5 is {text!r}, but 59 of 60 rows have numbers there; correct the file, or name" in message
    doors = [("2", "3", "5more")[row % 3] for row in range(60)]
    read(folder, doors, categories=["a"])
    assert "1 column is read as categories: a (3 values)" in capsys.readouterr().out
    codes = [str(row % 4) for row in range(60)]
    data = prepared("csv", table(folder, {"a": codes, "price": Y}), categories=["a"])
    assert data.input_shape == (4,)
    both = [("1", "1.0", "2")[row % 3] for row in range(60)]
    data = prepared("csv", table(folder, {"a": both, "price": Y}), categories=["a"])
    assert data.input_shape == (2,)
    assert "a spells one number in several ways, read as one: 1 and 1.0" in capsys.readouterr().out


def test_text_that_only_resembles_numbers_is_text(folder):
    for texts in (("1.2.3", "1.2.4"), ("2024-01-05", "2024-02-05"), ("12:30", "12:45"), ("A4", "A5"), ("1st", "2nd"),
                  ("10-20", "20-30"), ("12.05.2024", "13.05.2024"), ("+", "-")):  # fmt: skip
        data = prepared("csv", table(folder, {"a": [texts[row % 2] for row in range(60)], "price": Y}))
        assert data.input_shape == (2,), texts


def test_decimal_marks_and_groups_of_thousands(folder):
    commas = {"3,14": 3.14, "1.234": 1234, "1.234,5": 1234.5, "-0,5": -0.5, "7": 7, "1.234.567": 1234567, "1,5e3": 1500}
    points = {"3.14": 3.14, "1,234": 1234, "1,234.5": 1234.5, "-0.5": -0.5, "7": 7, "1,234,567": 1234567, "1.5e3": 1500}
    for mark, values in ((",", commas), (".", points)):
        texts = (list(values) * 9)[:60]
        assert np.allclose(read(folder, texts, decimal=mark), [values[text] for text in texts]), mark
        columns = {"a": Y, "price": texts}
        data = prepared("csv", table(folder, columns), decimal=mark)
        targets = torch.cat([data.targets[split] for split in SPLITS])
        assert set(targets.tolist()) == {float(np.float32(value)) for value in values.values()}
    assert "a of row 5 is '1.5', where `.` does not group thousands" in refused(
        folder, {"a": put(NUMBERS, "1.5"), "price": Y}, decimal=","
    )
    assert "a of row 5 is '3,14', " in refused(folder, {"a": put(NUMBERS, "3,14"), "price": Y}, decimal=".")


def test_true_and_false_are_two_values_however_they_are_written(folder):
    texts = [("True", "false", "TRUE", "False", "true")[row % 5] for row in range(60)]
    data = prepared("csv", table(folder, {"a": texts, "price": Y}), task="regression")
    assert data.input_shape == (2,)
    data = prepared("csv", table(folder, {"a": NUMBERS, "price": texts}), task="classification")
    assert data.outputs == 2


def test_labels_are_one_class_however_their_number_is_written(folder, capsys):
    spellings = ["1", "2", "1.0", "2.00", "01", "2e0", "1e0", "2.", "+1", "2"] * 6
    data = prepared("csv", table(folder, {"a": NUMBERS, "price": spellings}), task="classification")
    assert data.outputs == 2 and "price spells one number in several ways, read as one: " in capsys.readouterr().out
    long = [("12345678901234567890", "12345678901234567891")[row % 2] for row in range(60)]
    assert prepared("csv", table(folder, {"a": NUMBERS, "price": long}), task="classification").outputs == 2
    prepared("csv", table(folder, {"a": NUMBERS, "price": ["Yes", "yes", "no"] * 20}), task="classification")
    assert "price has values that differ only in case, read as several: Yes and yes" in capsys.readouterr().out


def test_numbers_of_classes_may_have_gaps(folder, capsys):
    gaps = [("0", "2", "5", "10")[row % 4] for row in range(60)]
    data = prepared("csv", table(folder, {"a": NUMBERS, "price": gaps}), task="classification")
    assert data.outputs == 4
    assert "a.csv: price: its 4 classes are numbered 0 → 0, 2 → 1, 5 → 2, 10 → 3" in capsys.readouterr().out


def test_fields_without_a_value_have_many_spellings(folder, capsys):
    for text in ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "-nan", "null", "NULL", "None", "n.a.", "?", "#DIV/0!", "-",
                 "--", ".", "nil"):  # fmt: skip
        assert "1 of 60 rows have empty fields, row 5 is the first" in refused(
            folder, {"a": put(NUMBERS, text), "price": Y}
        )
        data = prepared("csv", table(folder, {"a": put(NUMBERS, text), "price": Y}), missing="drop")
        assert sum(len(data.inputs[split]) for split in SPLITS) == 59 and data.input_shape == (1,)
        said = f"dropped 1 of 60 rows, which have empty fields (a in 1 as {text!r})"
        assert said in capsys.readouterr().out
    signs = [("+", "-")[row % 2] for row in range(60)]
    assert prepared("csv", table(folder, {"a": NUMBERS, "price": signs}), task="classification").outputs == 2


def test_marks_and_separators_are_found(folder):
    whole = prepared("csv", table(folder, {"a": NUMBERS, "b, c": Y, "price": Y})).inputs
    for separator in ",;\t|":
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            data = prepared("csv", table(folder, {"a": NUMBERS, "b, c": Y, "price": Y}, separator, encoding))
            assert all(torch.equal(data.inputs[split], whole[split]) for split in SPLITS), (separator, encoding)
    european = {"a": [f"{row},5" for row in range(60)], "price": Y}
    assert "set `decimal: ','`" in refused(folder, european, ";")
    assert prepared("csv", "a.csv", decimal=",").input_shape == (1,)
    message = refused(folder, {"städte": NUMBERS, "price": Y}, encoding="latin-1")
    assert "a.csv cannot be read as a text table" in message and message.endswith("; save it in UTF-8")


def test_text_that_train_lacks_is_said(folder, capsys):
    held_out = int(datasets.divide(60, 0)["test"][0])
    prepared("csv", table(folder, {"a": put(["Ulm", "Bonn"] * 30, "Rom", held_out), "price": Y}))
    said = capsys.readouterr().out
    assert "a has values that train lacks in 1 row of val and test, encoded as 0 in all its columns: Rom" in said


def columns_of(folder, a: list[str], **options) -> dict[str, np.ndarray]:
    data = prepared("csv", table(folder, {"a": a, "price": (Y * 99)[: len(a)]}), **options)
    return {split: data.inputs[split][:, 0].double().numpy() for split in SPLITS}


def test_a_constant_column_keeps_its_unit(folder, capsys):
    for constant in (0.1, 0.0, 1e-9, 1e9, 123456.789, -0.3, 16777217.0, 1e15):
        for rows in (60, 3000):
            for scaling in ("standard", "min_max"):
                odd = int(datasets.divide(rows, 0)["test"][0])
                texts = put([repr(constant)] * rows, repr(constant + 0.125), odd)
                split = columns_of(folder, texts, scaling=scaling)
                assert not split["train"].any() and not split["val"].any(), (constant, rows, scaling)
                assert np.isclose(np.abs(split["test"]).max(), 0.125, rtol=1e-3), (constant, rows, scaling)
                assert "1 column constant in train, kept in the file's unit: a" in capsys.readouterr().out


def test_a_column_that_is_constant_but_for_rounding_keeps_its_unit(folder):
    texts = [("0.3", "0.30000000000000004")[row % 2] for row in range(3000)]
    split = columns_of(folder, put(texts, "0.4", int(datasets.divide(3000, 0)["test"][0])))
    assert np.abs(split["train"]).max() < 1e-6 and np.isclose(np.abs(split["test"]).max(), 0.1)


def test_an_offset_costs_no_digits(folder):
    noise = np.random.default_rng(0).normal(0, 1, 3000)
    for offset, width in ((1e9, 1e-3), (1e9, 1), (1e12, 1), (-1e9, 10), (2**24, 1), (1.6e9, 100)):
        texts = [repr(float(offset + width * value)) for value in noise]
        exact = np.array([float(text) for text in texts]) - offset
        train = datasets.divide(3000, 0)["train"]
        expected = (exact[train] - exact[train].mean()) / exact[train].std()
        assert np.allclose(columns_of(folder, texts)["train"], expected, atol=2e-4), (offset, width)


def test_whole_numbers_that_float32_merges_are_kept_apart_or_said(folder, capsys):
    for first in (2**24, 10**9, 2**40):
        texts = [str(first + row) for row in range(3000)]
        split = columns_of(folder, texts)
        assert len(np.unique(np.concatenate(list(split.values())))) == 3000
        assert "distinguish" not in capsys.readouterr().out
        split = columns_of(folder, texts, scaling="none")
        kept = len(np.unique(np.concatenate(list(split.values()))))
        said = capsys.readouterr().out
        assert kept < 3000 and f"does not distinguish; subtract an offset first: a (keeps {kept:,} of 3,000)" in said
    columns_of(folder, [str(2**60 + row) for row in range(3000)])
    said = capsys.readouterr().out
    assert re.search(r"integers too long for float64 to distinguish: a \(keeps \d+ of 3,000\); put identifiers", said)


def test_targets_that_float32_merges_are_refused(folder):
    for first, step, rows in ((10**9, 1, 300), (2**24, 1, 60), (10**12, 1000, 300), (1e9, 0.25, 300)):
        price = [repr(first + step * row) for row in range(rows)]
        message = refused(folder, {"a": (NUMBERS * 9)[:rows], "price": price})
        assert re.search(rf"price: float32, in which networks compute, distinguishes \d+ of its {rows} values", message)
        assert f"subtract an offset, such as {float(first):.17g}" in message
    sound = [[str(1e9 + 1e8 * row) for row in range(60)], ["0.1"] * 60, [str(0.1 * row) for row in range(60)],
             [str(2**24 - row) for row in range(60)], ["1e9", "-1e9"] * 30]  # fmt: skip
    for price in sound:
        prepared("csv", table(folder, {"a": NUMBERS, "price": price}))


def test_a_value_far_beyond_train_is_said(folder, capsys):
    drawn = datasets.divide(3000, 0)
    texts = put(put(["0.1"] * 3000, "0.1000001", int(drawn["train"][0])), "0.2", int(drawn["test"][0]))
    columns_of(folder, texts)
    assert "1 column with values in val or test more than 1,000 times as far from 0" in capsys.readouterr().out
