"""Labels by class name: Places365's own numbers, lists that contradict."""

import collections
import pathlib

import numpy as np
import pytest

from blt_jax.data import longtail, sources
from blt_jax.data.sources import class_names, file_lookup, image_lists

TRAIN = [
  "train/desert_road/1.jpg 1",
  "train/desert-sand/1.jpg 2",
  "train/desert-sand/2.jpg 2",
  "train/airfield/1.jpg 0",
]
VALIDATION = [
  "val/desert-sand/3.jpg 2",
  "val/airfield/3.jpg 0",
  "val/desert_road/3.jpg 1",
]
# Places365 sorts "/" before "_", the lists "_" before "-".
OFFICIAL = ["/a/airfield 0", "/d/desert/sand 1", "/d/desert_road 2"]


@pytest.fixture
def places(tmp_path):
  """Loads lists of empty image files, with or without class names."""

  def write(name, lines):
    (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    return str(tmp_path / name)

  def load(train, *, validation=VALIDATION, names=None, class_folders=False):
    for line in [*train, *validation]:
      path = tmp_path / "root" / line.rsplit(" ", 1)[0]
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
    return sources.load_image_lists(
      str(tmp_path / "root"),
      write("train.txt", train),
      validation_list=write("val.txt", validation),
      class_names_file=write("names.txt", names) if names else "",
      class_folders=class_folders,
    )

  return load


def _labels_by_folder(dataset):
  return {
    class_names.class_folder(path): int(label)
    for split in (dataset.train, dataset.validation)
    for path, label in zip(split.paths, split.labels, strict=True)
  }


def test_official_numbers_win_over_a_lists_own(places):
  dataset = places(TRAIN, names=OFFICIAL)
  assert dataset.class_names == ("airfield", "desert-sand", "desert_road")
  assert _labels_by_folder(dataset) == {
    "airfield": 0,
    "desert-sand": 1,
    "desert_road": 2,
  }
  np.testing.assert_array_equal(dataset.class_counts, [1, 2, 1])
  np.testing.assert_array_equal(dataset.validation.labels, [1, 0, 2])


def test_without_names_a_lists_numbers_stay(places):
  dataset = places(TRAIN, class_folders=True)
  assert dataset.class_names == ("airfield", "desert_road", "desert-sand")
  assert _labels_by_folder(dataset)["desert-sand"] == 2


def test_order_of_the_official_lines_does_not_matter(places):
  shuffled = places(TRAIN, names=OFFICIAL[::-1])
  assert shuffled.class_names == ("airfield", "desert-sand", "desert_road")


@pytest.mark.parametrize(
  "options", [{"class_folders": True}, {"names": OFFICIAL}]
)
@pytest.mark.parametrize(
  "train, validation, message",
  [
    (
      [*TRAIN, "train/airfield/2.jpg 1"],
      VALIDATION,
      r"train\.txt:5: folder 'airfield' has label 1; expected 0",
    ),
    (
      [*TRAIN, "train/desert/2.jpg 2"],
      VALIDATION,
      r"train\.txt:5: label 2 has folder 'desert'; expected 'desert-sa",
    ),
    (
      TRAIN,
      [VALIDATION[0], "val/airfield/3.jpg 1"],
      r"val\.txt:2: folder 'airfield' has label 1; expected 0",
    ),
    (
      [*TRAIN, "1.jpg 0"],
      VALIDATION,
      r"train\.txt:5: path is '1\.jpg'; ex",
    ),
  ],
)
def test_lists_that_contradict_are_refused(
  places, train, validation, message, options
):
  with pytest.raises(ValueError, match=message):
    places(train, validation=validation, **options)


def test_lists_may_contradict_where_folders_are_no_classes(places):
  dataset = places([*TRAIN, "train/airfield/2.jpg 1"])
  np.testing.assert_array_equal(dataset.class_counts, [1, 2, 2])


def test_folder_that_is_no_class_is_named(places):
  names = [line.replace("airfield", "airport") for line in OFFICIAL]
  with pytest.raises(
    ValueError,
    match=r"txt:4: folder is 'airfield'; expected one of the 3 .*nam",
  ):
    places(TRAIN, names=names)


def test_class_without_training_images_is_named(places):
  with pytest.raises(ValueError, match=r"class 3 \(zoo\) has no training"):
    places(TRAIN, names=[*OFFICIAL, "/z/zoo 3"])


@pytest.mark.parametrize(
  "line", ["/z/zoo 2", "/z/zoo 4", "/a/airfield 3", "/d/desert-sand 3"]
)
def test_official_names_and_numbers_stand_once(tmp_path, line):
  file = tmp_path / "names.txt"
  file.write_text("\n".join([*OFFICIAL, line]))
  with pytest.raises(
    ValueError, match=rf"names\.txt:4: .* '{line}'; expected .* 0 to 3 once"
  ):
    class_names.read_names(str(file))


def test_a_file_with_one_name_twice_names_both_lines(tmp_path):
  file = tmp_path / "names.txt"
  file.write_text("crane\nowl\ncrane\n")
  with pytest.raises(
    ValueError, match=r"names\.txt:1 and .*names\.txt:3 are two classes of one"
  ):
    class_names.read_names(str(file))


def test_arrays_with_one_name_twice_are_refused():
  images = np.zeros((4, 2, 2, 3), np.uint8)
  with pytest.raises(ValueError, match="class 0 and class 1 are two classes"):
    sources.from_arrays(images, np.arange(4) // 2, class_names=["a", "a"])


def test_names_may_end_in_numbers(tmp_path):
  file = tmp_path / "names.txt"
  file.write_text("Boeing 737\nAirbus 320\n")
  expected = class_names.NamesFile(("Boeing 737", "Airbus 320"), numbered=False)
  assert class_names.read_names(str(file)) == expected


# The real lists


@pytest.fixture
def real(shared, tmp_path, monkeypatch):
  """Loads Places-LT from the real lists, as if every image were there."""
  splits = shared / "data/splits"
  files = [
    splits / f"Places_LT_{part}.txt" for part in ("train", "val", "test")
  ]
  there = collections.defaultdict(set)
  for line in "".join(file.read_text() for file in files).splitlines():
    folder, _, file = line.rsplit(" ", 1)[0].rpartition("/")
    there[str(tmp_path / folder)].add(file)
  monkeypatch.setattr(
    file_lookup,
    "files_in",
    lambda folder: file_lookup.FilesIn(there[folder], set(), np.empty(0)),
  )
  folders = {pathlib.Path(folder).name for folder in there}
  official = sorted(name.replace("-", "/") for name in folders)
  names = tmp_path / "categories_places365.txt"
  names.write_text(
    "".join(f"/{name[0]}/{name} {c}\n" for c, name in enumerate(official))
  )

  def load(**options):
    return sources.load_image_lists(
      str(tmp_path),
      str(files[0]),
      validation_list=str(files[1]),
      test_list=str(files[2]),
      class_folders=True,
      **options,
    )

  return load, str(names)


def test_real_places_lists_have_the_papers_splits(real):
  dataset = real[0]()
  sizes = [len(s) for s in (dataset.train, dataset.validation, dataset.test)]
  assert sizes == [62_500, 7_300, 36_500]
  np.testing.assert_array_equal(
    np.bincount(dataset.validation.labels), 365 * [20]
  )
  np.testing.assert_array_equal(np.bincount(dataset.test.labels), 365 * [100])
  counts = dataset.class_counts
  assert (counts.max(), counts.min()) == (4980, 5)
  groups = longtail.shot_groups(counts)
  assert {name: int(mask.sum()) for name, mask in groups.items()} == {
    "many": 131,
    "medium": 157,
    "few": 77,
  }


def test_real_places_lists_differ_from_the_official_numbers_in_five(real):
  load, names = real
  own, official = load(), load(class_names_file=names)
  moved = [
    name
    for name, other in zip(own.class_names, official.class_names, strict=True)
    if name != other
  ]
  assert sorted(moved) == [
    "desert-sand",
    "desert-vegetation",
    "desert_road",
    "field-wild",
    "field_road",
  ]
  for split in ("train", "validation", "test"):
    ours, theirs = getattr(own, split), getattr(official, split)
    np.testing.assert_array_equal(ours.paths, theirs.paths)
    by_name = [
      np.asarray(dataset.class_names, object)[part.labels]
      for dataset, part in ((own, ours), (official, theirs))
    ]
    np.testing.assert_array_equal(*by_name)


def test_real_imagenet_lists_agree_on_every_folder(shared):
  splits = shared / "data/splits"
  files = [str(splits / f"ImageNet_LT_{part}.txt") for part in ("val", "test")]
  lists = [image_lists.read_list(file, 1000) for file in files]
  np.testing.assert_array_equal(np.bincount(lists[0].labels), 1000 * [20])
  np.testing.assert_array_equal(np.bincount(lists[1].labels), 1000 * [50])
  labels = image_lists.labels_of_folders(lists)
  assert [labels[wnid] for wnid in sorted(labels)] == list(range(1000))
