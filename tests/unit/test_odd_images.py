"""Realistic folders and zip files of images: all images are read, and skipped files are reported."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from edgepress.datasets import SPLITS, DataError
from edgepress.datasets.own_images import NOT_DECODED

from .small_data import image, pictures, prepared, write_folder, write_zip

WRITERS = ((write_folder, "pets"), (write_zip, "pets.zip"))


def written(folder, files) -> list[str]:
    """The same files as a new folder and as a new zip file."""
    place = folder / str(len(list(folder.iterdir())))
    place.mkdir()
    for write, name in WRITERS:
        write(place / name, files)
    return [str(place / name) for _, name in WRITERS]


def both(folder, files, capsys):
    """The data set, and what is noted, which must be the same of a folder and of a zip file."""
    results = []
    for path in written(folder, files):
        capsys.readouterr()
        results.append((prepared("images", path), capsys.readouterr().out.replace(path, "pets")))
    (data, said), (again, said_again) = results
    assert said == said_again
    for split in SPLITS:
        assert torch.equal(data.inputs[split], again.inputs[split])
        assert torch.equal(data.targets[split], again.targets[split])
    return data, said


def refused(folder, files) -> str:
    messages = set()
    for path in written(folder, files):
        with pytest.raises(DataError) as error:
            prepared("images", path)
        messages.add(str(error.value).replace(path, "pets"))
    (message,) = messages
    assert "\n" not in message
    return message


def rows(data) -> list[int]:
    return [len(data.inputs[split]) for split in SPLITS]


def test_images_in_folders_within_their_class_are_read(folder, capsys):
    deep = {f"train/cat/{place}/{n}.png": image(40 + n) for place in ("indoor", "garden/2024") for n in range(5)}
    data, said = both(folder, pictures() | deep, capsys)
    assert rows(data) == [27, 3, 20]
    assert int(sum((data.targets[split] == 1).sum() for split in ("train", "val"))) == 20
    assert "10 images are in subfolders of a class, and belong to it: train/cat/garden/2024/0.png" in said
    every = {name.replace("/1", "/one/more/1"): content for name, content in pictures().items()}
    assert rows(both(folder, every, capsys)[0]) == [18, 2, 20]


def test_every_ending_that_pillow_decodes_is_read(folder, capsys):
    forms = {
        ".jfif": "JPEG", ".jpe": "JPEG", ".JPG": "JPEG", ".Jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".dib": "DIB",
        ".tif": "TIFF", ".TIFF": "TIFF", ".gif": "GIF", ".PNG": "PNG", ".ppm": "PPM", ".tga": "TGA", ".jp2": "JPEG2000",
        ".pcx": "PCX",
    }  # fmt: skip
    files = pictures() | {f"train/cat/a{ending}": image(40, form=form) for ending, form in forms.items()}
    data, said = both(folder, files, capsys)
    assert sum(rows(data)) == 40 + len(forms) and "skipped" not in said


def test_formats_that_another_program_draws_are_not_decoded(folder, capsys):
    Image.init()
    assert set(Image.OPEN) >= NOT_DECODED
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    data, said = both(folder, pictures() | {"train/cat/drawing.eps": eps}, capsys)
    assert sum(rows(data)) == 40 and "skipped 1 file that is not an image: train/cat/drawing.eps" in said
    assert "train/cat/x.png cannot be read as an image" in refused(folder, pictures() | {"train/cat/x.png": eps})


def test_folders_of_splits_have_many_names(folder):
    names = {"train": ("training", "Train", "TRAINING"), "test": ("testing", "Test"),
             "val": ("val", "valid", "validation", "Valid", "dev")}  # fmt: skip
    files = pictures() | {f"val/ant/{n}.png": image(1) for n in range(3)}
    for split, others in names.items():
        for other in others:
            for path in written(folder, {name.replace(f"{split}/", f"{other}/"): c for name, c in files.items()}):
                assert rows(prepared("images", path)) == [20, 3, 20], path
    message = refused(folder, pictures() | {f"{other}/ant/1.png": image(1) for other in ("val", "valid")})
    assert message == "pets has val and valid, which are both val; merge them into one folder"


def test_folders_around_the_splits_do_not_matter(folder, capsys):
    for around in ("pets/", "a/b/c/", "test/", "train/"):
        data, _ = both(folder, {f"{around}{name}": content for name, content in pictures().items()}, capsys)
        assert rows(data) == [18, 2, 20], around
    two = {f"{around}/{name}": content for name, content in pictures().items() for around in ("a", "b")}
    assert refused(folder, two) == "pets holds 2 data sets: a, b; name the folder of one"


def test_hidden_files_are_no_data(folder, capsys):
    hidden = [
        ".git/objects/1.png", "train/.ipynb_checkpoints/1.png", "train/cat/.ipynb_checkpoints/1.png",
        "train/cat/._1.png", "__MACOSX/train/cat/._1.png", "__MACOSX/train/dog/1.png", "train/cat/.DS_Store",
        ".git/train/cat/1.png",
        "train/@eaDir/1.png", "test/__pycache__/1.png",
    ]  # fmt: skip
    data, said = both(folder, pictures() | {name: image(9) for name in hidden}, capsys)
    assert (data.outputs, rows(data)) == (2, [18, 2, 20])
    assert "skipped 10 hidden files: " in said and "and 5 more" in said


def test_what_is_left_out_is_counted(folder, capsys):
    others = {name: b"x" for name in ("README.md", "train/cat/notes.txt", "train/cat/labels")}
    stray = {name: image(1) for name in ("train/1.png", "1.png", "holdout/cat/1.png", "holdout/cat/2.png")}
    data, said = both(folder, pictures() | others | stray, capsys)
    assert rows(data) == [18, 2, 20]
    assert "pets: skipped 3 files that are not images: README.md, train/cat/labels, train/cat/notes.txt (by" in said
    assert (
        "pets: skipped 4 images outside <split>/<class> folders: 1.png, holdout/cat/1.png, holdout/cat/2.png, " in said
    )
    said = both(folder, pictures(), capsys)[1]
    assert said == "pets: its 2 classes are numbered ant → 0, cat → 1\n"


def test_a_class_without_images_is_refused_or_said(folder, capsys):
    files = pictures() | {"train/dog/notes.txt": b"x"}
    assert refused(folder, files) == "pets has no images in train/dog; add images, or remove that folder"
    for path in written(folder, pictures()):
        if not path.endswith(".zip"):
            Path(path, "train/eel/deep").mkdir(parents=True)
            with pytest.raises(DataError, match="no images in train/eel; add images, or remove that folder"):
                prepared("images", path)
    for split in ("val", "valid", "test"):
        message = refused(folder, pictures() | {f"{split}/dog/1.png": image(3)})
        assert f"{'test' if split == 'test' else 'val'}/dog, but no train/dog" in message
    fewer = {name: content for name, content in pictures().items() if not name.startswith("test/ant")}
    said = both(folder, fewer, capsys)[1]
    assert "test has no rows of 1 of the 2 classes, so it does not measure ant" in said


def test_val_is_drawn_from_each_class(folder, capsys):
    many = (("ant", 60), ("bee", 3), ("cat", 1))
    files = {f"{part}/{label}/{n}.png": image(n) for part in ("train", "test") for label, rows in many
             for n in range(rows)}  # fmt: skip
    data, said = both(folder, files, capsys)
    assert data.targets["val"].bincount(minlength=3).tolist() == [6, 1, 0]
    assert "1 class has too few rows to split, so all go to train: cat (1)" in said


def test_links_are_followed_but_not_in_circles(folder):
    write_folder(folder / "pets", pictures())
    write_folder(folder / "else", {f"{n}.png": image(7) for n in range(10)})
    (folder / "pets/train/dog").symlink_to(folder / "else", target_is_directory=True)
    (folder / "pets/train/dog/around").symlink_to(folder / "pets", target_is_directory=True)
    (folder / "pets/train/cat/self").symlink_to(folder / "pets/train/cat", target_is_directory=True)
    assert rows(prepared("images", "pets")) == [27, 3, 20]


def test_paths_with_backslashes_in_a_zip_file_are_paths(folder):
    write_zip(folder / "pets.zip", {name.replace("/", "\\"): content for name, content in pictures().items()})
    assert rows(prepared("images", "pets.zip")) == [18, 2, 20]


def test_the_first_frame_of_several_is_said(folder, capsys):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (1, 250)]
    write_folder(folder / "pets", pictures())
    frames[0].save(folder / "pets/train/cat/moving.gif", save_all=True, append_images=frames[1:])
    assert sum(rows(prepared("images", "pets"))) == 41
    assert "1 image has several frames; the first is read: train/cat/moving.gif" in capsys.readouterr().out
