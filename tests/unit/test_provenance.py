import json
import subprocess

import pytest

from edgepress import provenance

MODULES = {
    "__init__.py": '"""A package."""\nVERSION = "1"\n',
    "train.py": '"""Trains."""\nfrom edgepress import evaluate\ndef go():\n  """Train."""\n  return evaluate.loss()\n',
    "evaluate.py": "import torch\nfrom edgepress.units.scale import half  # a note\n\ndef loss(): return half(3)\n",
    "units/__init__.py": "",
    "units/scale.py": "def half(x):\n    return x / 2\n",
    "lazy.py": "def run():\n    from edgepress.report import write\n\n    return write()\n",
    "report.py": "def write():\n    return 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small copy of edgepress; ``digest`` reads it again each time."""
    for name, source in MODULES.items():
        path = tmp_path / "edgepress" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.setattr(provenance, "_SOURCE", tmp_path)
    yield tmp_path / "edgepress"
    provenance.forget()


def digest(*modules):
    provenance.forget()
    return provenance.code_digest(*modules)


def changed(package, file, old, new, *modules):
    path = package / file
    before = digest(*modules)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return digest(*modules) != before


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("train.py", "return evaluate.loss()", "return 2 * evaluate.loss()"),
        ("evaluate.py", "half(3)", "half(4)"),
        ("units/scale.py", "x / 2", "x / 3"),  # imported by what is imported
        ("__init__.py", '"1"', '"2"'),  # importing a module runs its package
        ("units/__init__.py", "", "x = 1\n"),
    ],
)
def test_an_edit_to_code_that_is_used_shows(package, file, old, new):
    assert changed(package, file, old, new, "edgepress.train")


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("report.py", "return 1", "return 2"),  # not imported
        ("evaluate.py", "# a note", "# another"),
        ("evaluate.py", "\n\ndef loss", "\n\n\n\ndef loss"),
        ("train.py", '"""Train."""', '"""Train well."""'),
        ("train.py", '"""Trains."""', '"""It trains."""'),
    ],
)
def test_other_edits_do_not_show(package, file, old, new):
    assert not changed(package, file, old, new, "edgepress.train")


def test_imports_inside_a_function_count(package):
    assert changed(package, "report.py", "return 1", "return 2", "edgepress.lazy")


def test_every_module_named_counts(package):
    assert not changed(package, "report.py", "return 1", "return 2", "edgepress.train")
    assert changed(package, "report.py", "return 2", "return 3", "edgepress.train", "edgepress.report")


@pytest.mark.parametrize(
    "line", ["import edgepress.extra", "import edgepress.extra as e", "from edgepress import extra"]
)
def test_every_way_to_import_counts(package, line):
    (package / "extra.py").write_text("x = 1\n")
    assert not changed(package, "extra.py", "1", "2", "edgepress.train")
    (package / "evaluate.py").write_text(f"{line}\n" + MODULES["evaluate.py"])
    assert changed(package, "extra.py", "2", "3", "edgepress.train")


def test_digests_of_the_real_modules():
    digests = {digest(f"edgepress.{name}") for name in ("training", "sweep", "codebooks", "methods.pruning")}
    assert len(digests) == 4
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in digests)
    assert digest("edgepress.sweep") == digest("edgepress.sweep")


# ---- the manifest -----------------------------------------------------------------------------------------------

CONFIG = {"run": "mine", "seeds": [0, 1], "bits": [4]}


def read(path):
    return json.loads(path.read_text())


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", folder, *name, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_run_that_ends(tmp_path):
    path = tmp_path / "results" / "manifest.json"
    provenance.start(path, CONFIG, tmp_path)
    begun = read(path)
    assert (begun["run"], begun["seeds"], begun["config"]) == ("mine", [0, 1], CONFIG)
    assert len(begun["starts"]) == 1 and begun["end"] is None and begun["ended"] is None
    assert begun["packages"]["torch"][0].isdigit() and begun["machine"]["cores"] >= 1
    provenance.end(path, "complete")
    ended = read(path)
    assert ended["ended"] == "complete" and ended["end"] >= begun["starts"][0]
    assert {**ended, "end": None, "ended": None} == begun


def test_a_run_that_is_taken_up_again_keeps_its_starts(tmp_path):
    path = tmp_path / "manifest.json"
    provenance.start(path, CONFIG, tmp_path)  # killed
    provenance.start(path, CONFIG, tmp_path)
    provenance.end(path, "failed")
    assert read(path)["ended"] == "failed" and read(path)["end"] is None
    provenance.start(path, CONFIG, tmp_path)
    assert len(read(path)["starts"]) == 3 and read(path)["ended"] is None
    provenance.end(path, "complete")
    provenance.start(path, CONFIG, tmp_path)
    assert len(read(path)["starts"]) == 1


def test_the_config_has_a_hash_that_does_not_depend_on_its_order(tmp_path):
    def hashed(config):
        provenance.start(tmp_path / "manifest.json", config, tmp_path)
        return read(tmp_path / "manifest.json")["config_sha256"]

    assert hashed(CONFIG) == hashed(dict(reversed(CONFIG.items())))
    assert hashed(CONFIG) != hashed({**CONFIG, "bits": [8]})


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    checkout, manifest = tmp_path / "checkout", tmp_path / "manifest.json"
    checkout.mkdir()

    def commit():
        provenance.start(manifest, CONFIG, checkout)
        return read(manifest)["commit"]

    assert commit() == "unknown"
    git(checkout, "init")
    assert commit() == "unknown"  # nothing committed yet
    (checkout / "file").write_text("1")
    git(checkout, "add", "file")
    git(checkout, "commit", "-m", "first")
    assert commit() == git(checkout, "rev-parse", "HEAD")
    (checkout / "file").write_text("2")
    assert commit() == git(checkout, "rev-parse", "HEAD") + "+changes"


def test_relative_imports_count(package):
    (package / "units" / "near.py").write_text("from .scale import half\nfrom .. import lazy\n")
    module = "edgepress.units.near"
    assert changed(package, "units/scale.py", "x / 2", "x / 3", module)
    assert changed(package, "lazy.py", "return write()", "return 2", module)


def test_hashes_are_kept_for_the_next_process(tmp_path, monkeypatch):
    data, kept = tmp_path / "data.csv", tmp_path / "hashes.json"
    data.write_text("x,y\n1,2\n")
    monkeypatch.setattr(provenance, "_REMEMBERED", provenance._Remembered())
    first = provenance.content_digest(data)
    provenance._REMEMBERED.save(kept)

    def digest_in_a_new_process() -> tuple[str, int]:
        read = []
        monkeypatch.setattr(provenance, "_REMEMBERED", provenance._Remembered())
        provenance._REMEMBERED.load(kept)
        with monkeypatch.context() as patched:
            sha256 = provenance._sha256
            patched.setattr(provenance, "_sha256", lambda path: read.append(path) or sha256(path))
            provenance.forget()
            return provenance.content_digest(data), len(read)

    assert digest_in_a_new_process() == (first, 0)
    data.write_text("x,y\n1,3\n")  # of the same size
    changed, read = digest_in_a_new_process()
    assert changed != first and read == 1
    for unreadable in ("", "[]", "{}", '{"python": 3, "files": 4}'):
        kept.write_text(unreadable)
        assert digest_in_a_new_process() == (changed, 1)
