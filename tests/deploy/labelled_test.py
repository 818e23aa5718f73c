import pathlib

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.sources import Columns
from blt_jax.deploy.labelled import find_labelled, without_images

NAMES = ("ant", "bee", "caf\u00e9")


@pytest.fixture
def images(tmp_path):
  """Makes images in a folder by their paths; returns the folder."""

  def make(*paths):
    for path in paths:
      file = tmp_path / "images" / path
      file.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file)
    return tmp_path / "images"

  return make


def _found(folder, found):
  paths = [pathlib.Path(path).relative_to(folder) for path in found.paths]
  return dict(zip(map(str, paths), found.labels.tolist(), strict=True))


def test_class_folders_are_matched_by_name(images):
  # The file system may have accents as letters of their own.
  folder = images("bee/1.png", "ant/x/2.png", "cafe\u0301/3.png")
  found = find_labelled(str(folder), NAMES)
  assert _found(folder, found) == {
    "ant/x/2.png": 0,
    "bee/1.png": 1,
    "cafe\u0301/3.png": 2,
  }
  assert found.left_out == []


def test_names_with_a_slash_are_matched_with_their_folders(images):
  folder = images("airport-inside/1.png")
  found = find_labelled(str(folder), ("home", "airport/inside"))
  assert found.labels.tolist() == [1]


def test_what_is_left_out_is_counted_and_named(images):
  folder = images(
    "ant/1.png", "dog/1.png", "dog/2.png", "elk/1.png", "loose.png"
  )
  (folder / "ant" / "notes.txt").write_text("x")
  found = find_labelled(str(folder), NAMES)
  assert _found(folder, found) == {"ant/1.png": 0}
  loose, files, unknown = found.left_out
  assert loose == ("left out: 1 image in no class folder, such as loose.png")
  assert "ant/notes.txt" in files
  assert unknown == (
    "left out: 3 images of 2 classes that the network does not know: dog (2), "
    "elk (1)"
  )


def test_folder_of_no_known_class_is_refused_with_the_names(images):
  folder = images("dog/1.png", "elk/1.png")
  with pytest.raises(
    ValueError,
    match=r"no class of the network among its 2: dog \(1\), elk \(1\); "
    "expected classes of the network: ant, bee, caf",
  ):
    find_labelled(str(folder), NAMES)


def test_class_that_differs_in_case_or_spaces_is_hinted_at(images):
  folder = images("ant/1.png", "BEE/1.png", "a dog/1.png", "Sea_Cow/1.png")
  found = find_labelled(str(folder), ("ant", "bee", "sea  cow"))
  assert found.left_out == [
    "left out: 3 images of 3 classes that the network does not know: BEE (1; "
    "did you mean bee?), Sea_Cow (1; did you mean sea  cow?), a dog (1)"
  ]
  with pytest.raises(ValueError, match=r"its 4: .*ant \(1; did you mean Ant\?"):
    find_labelled(str(folder), ("Ant", "wasp"))


def test_known_class_folders_without_images_are_refused(images):
  folder = images("1.png")
  (folder / "ant").mkdir()
  with pytest.raises(ValueError, match=r"no image in its 1 class folders"):
    find_labelled(str(folder), NAMES)


@pytest.mark.parametrize(
  "names, splits, example",
  [
    (("train", "val", "test"), "test, train, val", "test"),
    (("seg_train", "seg_test"), "seg_test, seg_train", "seg_test"),
    (("val",), "val", "val"),
  ],
)
def test_folder_of_splits_asks_which(images, names, splits, example):
  folder = images(*(f"{name}/ant/1.png" for name in names))
  with pytest.raises(
    ValueError,
    match=rf"holds splits \({splits}\); .* such as --input={folder}/{example}",
  ):
    find_labelled(str(folder), NAMES)


def test_class_that_is_called_like_a_split_is_a_class(images):
  folder = images("test/1.png", "other/1.png")
  found = find_labelled(str(folder), ("other", "test"))
  assert _found(folder, found) == {"other/1.png": 0, "test/1.png": 1}


def test_table_is_matched_by_name(images, tmp_path):
  images("1.png", "2.png", "3.png")
  table = tmp_path / "labels.csv"
  table.write_text("path,label\n1.png,bee\n2.png,dog\n3.png,cafe\u0301\n")
  found = find_labelled(str(table), NAMES, root=str(tmp_path / "images"))
  assert found.labels.tolist() == [1, 2]
  assert found.left_out[-1].endswith("does not know: dog (1)")


def test_table_with_splits_gives_its_test(images, tmp_path):
  images("1.png", "2.png")
  table = tmp_path / "images" / "labels.csv"
  rows = "path,label,split\n1.png,bee,train\n2.png,ant,{}\n"
  table.write_text(rows.format("test"))
  found = find_labelled(str(table), NAMES)
  assert found.labels.tolist() == [0]
  assert found.left_out[-1].endswith("(test: 1, train: 1)")
  table.write_text(rows.format("val"))
  with pytest.raises(ValueError, match="train: 1, validation: 1; expected row"):
    find_labelled(str(table), NAMES)
  found = find_labelled(str(table), NAMES, columns=Columns(split="none"))
  assert found.labels.tolist() == [1, 0]


def test_files_that_are_not_beside_a_table_are_looked_for_in_the_run(
  images, tmp_path
):
  folder = images("bee/1.png", "ant/2.png", "ant/3.png")
  other = tmp_path / "other"
  (other / "ant").mkdir(parents=True)
  (other / "ant" / "2.png").touch()
  table = other / "labels.csv"
  table.write_text("photo,kind\nbee/1.png,bee\nant/2.png,ant\n")
  columns = Columns(path="photo", label="kind")
  found = find_labelled(
    str(table), NAMES, columns=columns, run_root=str(folder)
  )
  assert found.paths == [str(folder / "bee/1.png"), str(other / "ant/2.png")]
  assert found.left_out[1] == (
    f"1 image found in '{folder}', the folder of the run's images"
  )
  table.write_text("photo,kind\nant/2.png,ant\n")
  found = find_labelled(
    str(table), NAMES, columns=columns, run_root=str(folder)
  )
  assert not any("of the run" in line for line in found.left_out)
  table.write_text("photo,kind\nant/9.png,ant\n")
  for root, missing in (
    ("", f"'{other}' or '{folder}'"),
    (other, f"'{other}'"),
  ):
    with pytest.raises(ValueError, match=f"no file 'ant/9.png' in {missing};"):
      find_labelled(
        str(table),
        NAMES,
        root=str(root),
        columns=columns,
        run_root=str(folder),
      )


def test_missing_input_is_named(tmp_path):
  with pytest.raises(ValueError, match="there is no such file or folder"):
    find_labelled(str(tmp_path / "gone"), NAMES)


def test_classes_without_images_are_named():
  assert without_images(np.array([1, 4, 2]), NAMES) == ""
  assert without_images(np.array([0, 4, 0]), NAMES) == (
    "note: no image of 2 of the network's 3 classes, which have no part in the "
    "means: ant, caf\u00e9"
  )
