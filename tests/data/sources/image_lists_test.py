"""Image lists: what they load, their grammar, and what is wrong with a line."""

import logging
import os
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.sources import SplitOptions, file_lookup, image_lists


@pytest.fixture
def listed(tmp_path):
  """A root with 2 classes x 4 images, and a function that writes a list."""
  paths = [f"{name}/im {i}.png" for name in ("cat", "dog") for i in range(4)]
  for path in paths:
    (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "root" / path).touch()
  (tmp_path / "root/cat/more.png").touch()

  def write(name, lines):
    (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    return str(tmp_path / name)

  def load(train, *, held=0, options=None, **files):
    return sources.load_image_lists(
      str(tmp_path / "root"),
      write("train.txt", train),
      options=options or SplitOptions(validation_per_class=held),
      **files,
    )

  lines = [f"{path} {i // 4}" for i, path in enumerate(paths)]
  load.lines, load.write, load.root = lines, write, tmp_path / "root"
  return load


def test_lists_give_joined_paths_with_spaces(listed):
  validation = listed.write("val.txt", listed.lines[2:4])
  dataset = listed(
    listed.lines[:2] + listed.lines[6:], validation_list=validation
  )
  np.testing.assert_array_equal(dataset.train.labels, [0, 0, 1, 1])
  assert dataset.train.paths[1] == str(listed.root / "cat" / "im 1.png")
  assert dataset.class_names == ("cat", "dog")
  assert dataset.test is dataset.validation


def test_lists_may_have_empty_lines_tabs_and_carriage_returns(listed):
  lines = ["", listed.lines[0] + "\r", "  ", "dog/im 0.png\t1"]
  dataset = listed(
    lines, validation_list=listed.write("v.txt", listed.lines[1:2])
  )
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])


def test_lists_hold_validation_out_of_training(listed):
  dataset = listed(listed.lines, held=1)
  np.testing.assert_array_equal(dataset.class_counts, [3, 3])
  np.testing.assert_array_equal(dataset.validation.labels, [0, 1])
  assert not set(dataset.train.paths) & set(dataset.validation.paths)


def test_lists_by_profile(listed):
  dataset = listed(
    listed.lines,
    options=SplitOptions(
      profile="exponential",
      max_per_class=3,
      imbalance=3,
      validation_per_class=1,
    ),
    test_list=listed.write("test.txt", ["cat/more.png 0"]),
  )
  np.testing.assert_array_equal(dataset.class_counts, [3, 1])
  assert len(dataset.test) == 1


def test_classes_in_one_folder_are_named_by_number(listed):
  lines = ["cat/im 0.png 0", "cat/im 1.png 1"]
  held = listed.write("v.txt", ["cat/im 2.png 0"])
  dataset = listed(lines, validation_list=held)
  assert dataset.class_names == ("0", "1")


def test_class_names_come_from_a_file(listed):
  names = listed.write("names.txt", ["house cat", "dog"])
  dataset = listed(listed.lines, held=1, class_names_file=names)
  assert dataset.class_names == ("house cat", "dog")


def test_small_classes_are_dropped_from_every_split_and_logged(listed, caplog):
  lines = listed.lines[:1] + [line[:-1] + "2" for line in listed.lines[4:7]]
  last = listed.lines[7][:-1] + "2"
  with caplog.at_level(logging.INFO):
    dataset = listed(
      lines,
      options=SplitOptions(validation_per_class=1, drop_below=2),
      class_names_file=listed.write("names.txt", ["cat", "fish", "dog"]),
      test_list=listed.write("test.txt", [listed.lines[1], last]),
    )
  assert dataset.class_names == ("dog",)
  np.testing.assert_array_equal(dataset.class_counts, [2])
  np.testing.assert_array_equal(dataset.test.labels, [0])
  assert "dropped 2 of 3 classes" in caplog.text


@pytest.mark.parametrize(
  "line, message",
  [
    (
      "cat/im.png",
      r"train\.txt:2: the line is 'cat/im\.png'; expected 'path label'",
    ),
    ("  7", r"train\.txt:2: the line is '7'; expected 'path label'"),
    ("cat/im 0.png x", r"train\.txt:2: label is 'x'; expected a whole number"),
    ("cat/im 0.png -1", r"train\.txt:2: label is '-1'; expected"),
    ("cat/im 0.png 1.0", r"train\.txt:2: label is '1\.0'; expected"),
    ("cat/im 0.png ²", r"train\.txt:2: label is '²'; expected"),
    (
      "cat/im 0.png 9",
      r"train\.txt:2: label is 9; expected 0 to 8, .*9 lin",
    ),
    ("cat/im 0.png 12345678901", r"train\.txt:2: label is '12345678901'"),
    ("../root/cat/a.png 0", r"train\.txt:2: path '\.\./root.*leaves the root"),
    ("/etc/passwd 0", r"train\.txt:2: path '/etc/passwd' leaves the root"),
    (
      "cat/none.png 0",
      r"train\.txt:2: no file '.*none\.png'; .*1 of the 9",
    ),
    ("fish/im 0.png 0", r"train\.txt:2: no file '.*fish/im 0\.png'"),
    ("cat/more.png 3", r"class 2 \(2\) has no training image.*1 of 4 classes"),
  ],
)
def test_bad_list_lines_are_named(listed, line, message):
  lines = [listed.lines[0], line, *listed.lines[1:]]
  with pytest.raises(ValueError, match=message):
    listed(lines, held=1)


def test_line_numbers_count_empty_lines(listed):
  with pytest.raises(ValueError, match=r"train\.txt:4: no file"):
    listed(["", listed.lines[0], "", "cat/none.png 0"], held=1)


def test_validation_label_must_be_a_training_class(listed):
  validation = listed.write("val.txt", ["cat/im 0.png 2"])
  with pytest.raises(
    ValueError, match=r"val\.txt:1: label is 2; expected 0 to 1, as there are 2"
  ):
    listed(listed.lines, validation_list=validation)


@pytest.mark.parametrize("lines", [[], ["", " "]])
def test_empty_list_is_named(listed, lines):
  with pytest.raises(ValueError, match=r"train\.txt: no line"):
    listed(lines)


def test_missing_list_root_and_validation_are_named(listed, tmp_path):
  with pytest.raises(ValueError, match=r"none\.txt: can't be read"):
    listed(listed.lines, validation_list=str(tmp_path / "none.txt"))
  with pytest.raises(ValueError, match="root is .*nowhere.*existing folder"):
    sources.load_image_lists(str(tmp_path / "nowhere"), "train.txt")
  with pytest.raises(ValueError, match="validation_per_class is 0 and"):
    listed(listed.lines)


def test_binary_list_is_named(listed, tmp_path):
  (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match=r"x\.txt: can't be read as a text file"):
    listed(listed.lines, validation_list=str(tmp_path / "x.txt"))


def test_a_class_of_one_image_is_trained_on_as_in_folders(listed):
  dataset = listed(listed.lines[:5], held=3)
  np.testing.assert_array_equal(dataset.class_counts, [2, 1])
  np.testing.assert_array_equal(dataset.counts["validation"], [2, 0])


def test_lists_of_single_images_have_none_to_hold_out(listed):
  with pytest.raises(ValueError, match="has 1 image; expected a class with 2"):
    listed([listed.lines[0], listed.lines[4]], held=1)


def test_small_classes_are_dropped_by_what_the_hold_out_leaves(listed):
  dataset = listed(
    listed.lines[:5], options=SplitOptions(validation_per_class=3, drop_below=1)
  )
  assert dataset.class_names == ("cat",)
  np.testing.assert_array_equal(dataset.class_counts, [1])


# Files that lists name more than once


@pytest.mark.parametrize(
  "again", ["cat/im 0.png", "./cat/im 0.png", "cat//im 0.png", "cat/./im 0.png"]
)
def test_a_file_that_a_list_names_again_counts_once(listed, again):
  dataset = listed([*listed.lines, f"{again} 0", f"{again} 0"], held=2)
  plain = listed(listed.lines, held=2)
  assert sum(map(len, dataset.splits.values())) == 8 + 4  # Test: validation.
  np.testing.assert_array_equal(dataset.class_counts, plain.class_counts)
  assert not set(dataset.train.paths) & set(dataset.validation.paths)
  (line,) = dataset.left_out
  assert "left out: 2 images of" in line
  assert "train.txt:9, which repeats" in line
  assert line.endswith("train.txt:1")


def test_a_file_with_two_labels_names_both_lines(listed):
  with pytest.raises(
    ValueError,
    match=r"train\.txt:2 and .*train\.txt:9: the file '.*cat/im 1\.png' has the"
    " labels 0 and 1; expected one",
  ):
    listed([*listed.lines, "cat/./im 1.png 1"], held=1)


@pytest.mark.parametrize("split", ["validation_list", "test_list"])
def test_a_file_in_two_lists_names_both_lines(listed, split):
  other = listed.write("other.txt", ["cat/more.png 0", *listed.lines[2:4]])
  with pytest.raises(
    ValueError,
    match=r"train\.txt:3 and .*other\.txt:2: .* in two splits; .*2 such images",
  ):
    listed(listed.lines, held=1, **{split: other})


def test_the_test_list_may_be_the_validation_list(listed):
  files = [listed.write(f"{i}.txt", listed.lines[3:5]) for i in range(2)]
  dataset = listed(
    listed.lines[:3] + listed.lines[5:],
    validation_list=files[0],
    test_list=files[1],
  )
  assert dataset.test is dataset.validation


@pytest.mark.parametrize("link", ["file", "hard", "folder"])
def test_a_link_to_a_listed_file_is_that_file(listed, link):
  if link == "file":
    (listed.root / "cat/link.png").symlink_to("im 0.png")
    again = "cat/link.png"
  elif link == "hard":
    (listed.root / "dog/link.png").hardlink_to(listed.root / "cat/im 0.png")
    again = "dog/link.png"
  else:
    (listed.root / "pets").mkdir()
    (listed.root / "pets/cats").symlink_to("../cat", target_is_directory=True)
    again = "pets/cats/im 0.png"
  dataset = listed([*listed.lines, f"{again} 0"], held=1)
  assert "left out: 1 image of" in dataset.left_out[0]
  with pytest.raises(ValueError, match="two splits"):
    listed(listed.lines, validation_list=listed.write("v.txt", [f"{again} 0"]))


def test_a_disk_that_ignores_case_gives_one_file_two_names(listed, monkeypatch):
  # As on such a disk, the second name is found and not listed.
  os.link(listed.root / "cat/im 0.png", listed.root / "cat/IM 0.PNG")
  files_in = file_lookup.files_in
  monkeypatch.setattr(
    file_lookup,
    "files_in",
    lambda folder: files_in(folder)._replace(
      names=files_in(folder).names - {"IM 0.PNG"}
    ),
  )
  dataset = listed([*listed.lines, "cat/IM 0.PNG 0"], held=1)
  assert "left out: 1 image of" in dataset.left_out[0]
  with pytest.raises(ValueError, match="has the labels 0 and 1"):
    listed([*listed.lines, "cat/IM 0.PNG 1"], held=1)


def test_a_link_of_its_own_is_an_image(listed):
  (listed.root / "cat/link.png").symlink_to("more.png")
  dataset = listed([*listed.lines, "cat/link.png 0"], held=1)
  assert not dataset.left_out
  np.testing.assert_array_equal(dataset.class_counts, [4, 3])


# Paths and labels as people write them


def test_absolute_paths_below_the_root_are_accepted(listed, tmp_path):
  lines = [f"{listed.root}/{line}" for line in listed.lines]
  absolute, relative = listed(lines, held=1), listed(listed.lines, held=1)
  assert absolute.train.paths.tolist() == relative.train.paths.tolist()
  assert absolute.class_names == ("cat", "dog")
  with pytest.raises(ValueError, match=r"txt:1: path '.*rooted.*leaves the ro"):
    listed([f"{listed.root}ed/cat/im 0.png 0"], held=1)


def test_absolute_paths_may_go_through_a_link_to_the_root(listed, tmp_path):
  (tmp_path / "link").symlink_to("root", target_is_directory=True)
  dataset = sources.load_image_lists(
    str(tmp_path / "link"),
    listed.write("a.txt", [f"{listed.root}/{line}" for line in listed.lines]),
    options=SplitOptions(validation_per_class=1),
  )
  assert dataset.train.paths[0].startswith(str(tmp_path / "link"))


def test_backslashes_are_explained(listed):
  with pytest.raises(ValueError, match="the root, with '/' between folders"):
    listed(["cat\\im 0.png 0", *listed.lines[1:]], held=1)


@pytest.mark.parametrize("names", [None, ["cat", "dog"]])
@pytest.mark.parametrize("count", [2, 8])
def test_labels_that_begin_at_1_say_how_to_mend_them(listed, names, count):
  lines = [f"{line[:-1]}{int(line[-1]) + 1}" for line in listed.lines]
  lines = lines if count == 8 else [lines[0], lines[4]]
  more = {"class_names_file": listed.write("n.txt", names)} if names else {}
  with pytest.raises(
    ValueError,
    match=r"train\.txt:1: label is 1, the smallest .* largest is 2; expected"
    r" labels from 0 to 1\. This takes 1 from each: python -c",
  ) as error:
    listed(lines, held=1, **more)
  command = re.search("python -c .*", str(error.value))[0]
  command = command.replace("python", f"'{sys.executable}'", 1)
  subprocess.run(
    command.replace("NEW_LIST", str(listed.root / "new")),
    shell=True,
    check=True,
  )
  plain = listed.lines if count == 8 else [listed.lines[0], listed.lines[4]]
  assert (listed.root / "new").read_text().splitlines() == plain


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_accents_of_lists_need_not_be_those_of_the_disk(listed, on_disk):
  in_list = {"NFC": "NFD", "NFD": "NFC"}[on_disk]
  path = "Ähre/Käfer.png"
  file = listed.root / unicodedata.normalize(on_disk, path)
  file.parent.mkdir()
  file.touch()
  line = f"{unicodedata.normalize(in_list, path)} 2"
  dataset = listed([*listed.lines, line], held=1)
  assert str(file) in dataset.train.paths.tolist()
  assert dataset.class_names[2] == "Ähre"
  other = listed.write("v.txt", [f"{unicodedata.normalize(on_disk, path)} 2"])
  with pytest.raises(ValueError, match="two splits"):
    listed([*listed.lines, line], validation_list=other)


@pytest.mark.parametrize(
  "names, message",
  [
    (["a", "", "b"], r"names\.txt:2: the line is empty"),
    (["a"], r"train\.txt:5: label is 1; expected 0 to 0, as there are 1 cl"),
  ],
)
def test_bad_class_names_are_named(listed, names, message):
  file = listed.write("names.txt", names)
  with pytest.raises(ValueError, match=message):
    listed(listed.lines, class_names_file=file)


def test_real_places_lists_parse(shared, tmp_path):
  splits = shared / "data/splits"
  lines = (splits / "Places_LT_val.txt").read_text().splitlines()
  for path in (line.rsplit(" ", 1)[0] for line in lines):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
  dataset = sources.load_image_lists(
    str(tmp_path),
    str(splits / "Places_LT_val.txt"),
    options=SplitOptions(validation_per_class=1),
  )
  np.testing.assert_array_equal(dataset.class_counts, np.full(365, 19))
  assert dataset.class_names[0] == "airfield"


# The grammar

PLAIN = "".join(f"c{i % 7}/im {i}.jpg {i * i % 11}\n" for i in range(40))


@pytest.fixture
def read(tmp_path):
  """Parses a text: (paths, labels, lines)."""

  def read(text):
    (tmp_path / "list.txt").write_bytes(text.encode())
    listed = image_lists.read_list(str(tmp_path / "list.txt"), 0)
    return listed.paths.tolist(), listed.labels.tolist(), listed.lines.tolist()

  return read


def test_plain_lines(read):
  paths, labels, lines = read(PLAIN)
  assert paths == [f"c{i % 7}/im {i}.jpg" for i in range(40)]
  assert labels == [i * i % 11 for i in range(40)]
  assert lines == list(range(1, 41))


@pytest.mark.parametrize(
  "change",
  [
    lambda text: text.rstrip(),
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\r"),
    lambda text: text.replace("\n", " \t\n"),
    lambda text: text.replace("jpg ", "jpg  "),
    lambda text: text.replace("\n", "\n\u2003"),
  ],
)
def test_other_forms_of_the_same_list(read, change):
  assert read(change(PLAIN)) == read(PLAIN)


def test_empty_lines_count(read):
  paths, labels, lines = read(PLAIN.replace("\n", "\n\n"))
  assert (paths, labels) == read(PLAIN)[:2]
  assert lines == list(range(1, 81, 2))


def test_letters_of_any_script(read):
  text = PLAIN.replace("c3", "Ähre ..a")
  paths, labels, _ = read(text)
  assert paths == [path.replace("c3", "Ähre ..a") for path in read(PLAIN)[0]]
  assert labels == read(PLAIN)[1]


def test_long_labels(read, tmp_path):
  (tmp_path / "list.txt").write_text("a 000000003\nb 3\nc 0\nd 1\n")
  listed = image_lists.read_list(str(tmp_path / "list.txt"), 4)
  np.testing.assert_array_equal(listed.labels, [3, 3, 0, 1])


@pytest.mark.parametrize(
  "line",
  ["x.jpg", "x.jpg 1234567890", "x.jpg 1a", "x.jpg ٣", " 1", "/x.jpg 1", "7"],
)
def test_bad_lines_are_named_by_number(read, line):
  with pytest.raises(ValueError, match=r"list\.txt:41: "):
    read(f"{PLAIN}{line}\n{PLAIN}")


def test_text_that_is_not_utf8_is_named(tmp_path):
  (tmp_path / "list.txt").write_bytes(b"a.jpg 0\n\xff.jpg 0\n")
  with pytest.raises(ValueError, match=r"list\.txt: can't be read as a text"):
    image_lists.read_list(str(tmp_path / "list.txt"), 0)
