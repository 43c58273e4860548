"""Figure styles for papers and slides: width, and fonts in the PDF."""

import json

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from PIL import Image

from edgepress.reporting import style

mpl.use("Agg")


@pytest.fixture
def in_style(tmp_path):
    """A function that draws and saves a figure of two panels in the style of a run, and gives its path."""

    def draw(name: str | None, title: str = "×, µ, −"):
        figures = {"figures": {"style": name}} if name else {}
        (tmp_path / "manifest.json").write_text(json.dumps({"config": figures}))
        style.apply(tmp_path)
        figure, _ = plt.subplots(1, 2, figsize=style.inches(style.PAGE, 2), layout="constrained")
        figure.suptitle(title)
        style.save(figure, tmp_path / "figure")
        plt.close(figure)
        return tmp_path / "figure"

    yield draw
    mpl.rcdefaults()


def width(path) -> float:
    return Image.open(path.with_suffix(".png")).width / mpl.rcParams["savefig.dpi"]


@pytest.mark.parametrize(("name", "inches"), [(None, 7.16), ("ieee", 7.16), ("neurips", 5.5), ("talk", 12)])
def test_a_page_is_as_wide_as_the_style_says(in_style, name, inches):
    assert width(in_style(name)) == pytest.approx(inches, abs=0.01)


def test_what_would_be_cut_off_makes_a_figure_wider(in_style):
    assert width(in_style("ieee", "long " * 50)) > 8


def test_a_text_is_as_wide_in_the_file_as_in_the_layout(in_style):
    in_style("ieee")
    figure = plt.figure()
    text = figure.text(0, 0, "mv synthetic dnn complex: stochastic uniform against nearest histogram")
    inches = []
    for dots in (mpl.rcParams["figure.dpi"], mpl.rcParams["savefig.dpi"]):
        figure.set_dpi(dots)
        inches.append(text.get_window_extent(figure.canvas.get_renderer()).width / dots)
    assert inches[1] == pytest.approx(inches[0], rel=0.005)


def test_fonts_are_embedded_as_type_42(in_style):
    """As CIDFontType2, in which pdf.fonttype 42 comes: Type 3, matplotlib's own default, is refused by publishers."""
    pdf = in_style("ieee").with_suffix(".pdf").read_bytes()
    assert b"/CIDFontType2" in pdf and b"/FontFile2" in pdf and b"/Type3" not in pdf


def test_the_same_figure_is_the_same_bytes(in_style):
    first = [in_style("talk").with_suffix(end).read_bytes() for end in (".pdf", ".png")]
    assert first == [in_style("talk").with_suffix(end).read_bytes() for end in (".pdf", ".png")]
