"""Random configs: each is valid, or gives one sentence."""

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgepress import config
from edgepress.config import RunConfig
from edgepress.config_text import ConfigError

from .test_bad_configs import read, write

SETTINGS = [*RunConfig.model_fields, "lr", "steps", "digits", "digits/cnn", "cnn", "midrise", "lsq", "xyzzy"]
names = st.sampled_from(SETTINGS) | st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.integers(), inner, max_size=4),
    max_leaves=8,
)


def assert_sound_or_told(read_it) -> None:
    """Either the config is one, and its plan can be made, or one printable line says why not."""
    try:
        asked = read_it()
    except ConfigError as error:
        assert str(error).isprintable() and len(str(error)) < 2000
    else:
        assert all(job.levels for cell in asked.cells().values() for job in cell.jobs())


@settings(max_examples=250)
@given(st.dictionaries(st.sampled_from(list(RunConfig.model_fields)), values, min_size=1, max_size=3))
@example({"own_networks": {"\x1b": {"plugins": None}}})
def test_any_values_are_sound_or_told(raw):
    assert_sound_or_told(lambda: config.parse(raw))


@settings(max_examples=250)
@given(values)
def test_anything_is_sound_or_told(raw):
    assert_sound_or_told(lambda: config.parse(raw))


STARTER = (Path(__file__).parents[2] / "config" / "config.yaml").read_text(encoding="utf-8")


@settings(max_examples=250)
@given(st.integers(0, len(STARTER) - 1), st.integers(0, 8), st.text("[]{}:,-&*!|>'\"#%@ \n\t01.eE~ab\x00é", max_size=6))
def test_a_damaged_starter_config_is_sound_or_told(tmp_path_factory, place, length, written):
    path = write(tmp_path_factory.getbasetemp() / "damaged.yaml", STARTER[:place] + written + STARTER[place + length :])
    assert_sound_or_told(lambda: read(path))


@settings(max_examples=250)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_file_is_sound_or_told(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp() / "any.yaml", content)
    assert_sound_or_told(lambda: read(path))
