"""iNaturalist 2018 from JSON files of its form, made here."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.sources.inaturalist import AUTHORS_SPLITS

# Category ids with gaps and not in order; training images of each.
COUNTS = {30: 9, 4: 6, 11: 7, 7: 12}


def _annotations(counts, prefix, *, first=0):
  """An annotation file in the official form; images are in mixed order."""
  labels = np.random.default_rng(first).permutation(
    np.repeat(list(counts), list(counts.values()))
  )
  ids = [first + 3 * i for i in range(len(labels))]
  images = [
    {
      "id": image,
      "width": 800,
      "height": 600,
      "file_name": f"train_val2018/Aves/{category}/{prefix}{image}.jpg",
      "license": 1,
      "rights_holder": "somebody",
    }
    for image, category in zip(ids, labels.tolist(), strict=True)
  ]
  annotations = [
    {"id": image + 1, "image_id": image, "category_id": category}
    for image, category in zip(ids, labels.tolist(), strict=True)
  ]
  categories = [
    {"id": category, "name": f"species {category}", "supercategory": "Aves"}
    for category in COUNTS
  ]
  return {
    "info": {"year": 2018},
    "images": images,
    "categories": categories,
    "annotations": annotations[::-1],
    "licenses": [{"id": 1, "name": "CC"}],
  }


@pytest.fixture
def official(tmp_path):
  """The content of both files, and a function that loads them."""
  train = _annotations(COUNTS, "t")
  test = _annotations(dict.fromkeys(COUNTS, 3), "v", first=1000)
  for image in train["images"] + test["images"]:
    path = tmp_path / image["file_name"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

  def write(name, content):
    (tmp_path / name).write_text(json.dumps(content))
    return str(tmp_path / name)

  def load(*, class_names_file="", **options):
    return sources.load_inaturalist(
      str(tmp_path),
      write("train2018.json", train),
      test_json=write("val2018.json", test),
      class_names_file=class_names_file,
      options=dataclasses.replace(AUTHORS_SPLITS, **options),
    )

  load.train, load.test, load.write, load.root = train, test, write, tmp_path
  return load


def test_classes_are_dropped_counted_and_numbered_anew(official, caplog):
  with caplog.at_level(logging.INFO):
    dataset = official()
  # Category 4 has 6 images, one too few for 5 of validation and 2 of training.
  assert dataset.class_names == ("species 7", "species 11", "species 30")
  np.testing.assert_array_equal(dataset.class_counts, [7, 2, 4])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), 3 * [5])
  np.testing.assert_array_equal(np.bincount(dataset.test.labels), 3 * [3])
  assert "dropped 1 of 4 classes with fewer than 7 training" in caplog.text


def test_labels_belong_to_the_images(official):
  dataset = official()
  categories = [7, 11, 30]
  for split in (dataset.train, dataset.validation, dataset.test):
    folders = [int(path.split("/")[-2]) for path in split.paths]
    assert folders == [categories[label] for label in split.labels]


def test_validation_comes_out_of_training_and_test_is_the_official_one(
  official,
):
  dataset = official()
  prefixes = [
    {path.split("/")[-1][0] for path in split.paths}
    for split in (dataset.train, dataset.validation, dataset.test)
  ]
  assert prefixes == [{"t"}, {"t"}, {"v"}]
  assert not set(dataset.train.paths) & set(dataset.validation.paths)
  assert str(official.root) in dataset.train.paths[0]


def test_nothing_is_dropped_on_request(official):
  dataset = official(drop_below=0, validation_per_class=1)
  np.testing.assert_array_equal(dataset.class_counts, [5, 11, 6, 8])


def test_lists_give_the_same_splits(official):
  dataset = official()
  lists = []
  for name, content in (("t.txt", official.train), ("v.txt", official.test)):
    category = {a["image_id"]: a["category_id"] for a in content["annotations"]}
    order = sorted(COUNTS)
    lines = [
      f"{image['file_name']} {order.index(category[image['id']])}\n"
      for image in content["images"]
    ]
    (official.root / name).write_text("".join(lines))
    lists.append(str(official.root / name))
  listed = sources.load_image_lists(
    str(official.root),
    lists[0],
    test_list=lists[1],
    options=AUTHORS_SPLITS,
  )
  for part in ("train", "validation", "test"):
    ours, theirs = getattr(dataset, part), getattr(listed, part)
    np.testing.assert_array_equal(ours.paths, theirs.paths)
    np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_an_image_of_both_files_is_refused(official):
  image = official.test["annotations"][-1]
  same = [
    other["image_id"]
    for other in official.train["annotations"]
    if other["category_id"] == image["category_id"]
  ]
  for entry in official.train["images"]:
    if entry["id"] == same[0]:
      official.test["images"][0]["file_name"] = f"./{entry['file_name']}"
  with pytest.raises(
    ValueError,
    match=rf"train2018\.json: image {same[0]} and .*val2018\.json: image"
    r" 1000: .* is in two splits",
  ):
    official()


def test_names_without_obfuscation_are_found_by_id(official):
  names = [{"id": c, "name": f"Bird {c}"} for c in (4, 7, 11, 30, 99)]
  file = official.write("categories.json", names)
  dataset = official(class_names_file=file)
  assert dataset.class_names == ("Bird 7", "Bird 11", "Bird 30")


def test_names_must_cover_the_categories(official):
  file = official.write("categories.json", [{"id": 4, "name": "Bird"}])
  with pytest.raises(ValueError, match=r"categories\.json: no category 7; exp"):
    official(class_names_file=file)


def _set(section, i, **values):
  return lambda content: content[section][i].update(values)


def _remove(section, i):
  return lambda content: content[section].pop(i)


@pytest.mark.parametrize(
  "change, message",
  [
    (_set("annotations", 0, category_id=5), "category_id 5 of an annotation"),
    (
      _set("annotations", 0, category_id="4"),
      r"annotations\[0\]\['category_id",
    ),
    (_set("annotations", 0, image_id=1), "34 annotations for 34 .* image 1;"),
    (_remove("annotations", 0), "33 annotations for 34 images, wrong for imag"),
    (_remove("images", 0), "34 annotations for 33 images, wrong for image 0"),
    (_set("images", 0, file_name=3), r"images\[0\]\['file_name'\] is 3; expec"),
    (
      _set("images", 0, file_name="../a.jpg"),
      "image 0: path .* leaves the root",
    ),
    (
      _set("images", 0, file_name="a/b.jpg"),
      r"image 0: no file .*a/b\.jpg.*1 of",
    ),
    (_set("images", 1, id=0), "an image id stands twice"),
    (_set("categories", 0, id=4), "a category id stands twice"),
    (lambda content: content.pop("images"), "no images; expected a list"),
    (lambda content: content.update(categories=[]), "no categories; expected"),
  ],
)
def test_bad_annotations_are_named(official, change, message):
  change(official.train)
  with pytest.raises(ValueError, match=rf"train2018\.json: {message}"):
    official()


def test_both_files_need_the_same_categories(official):
  official.test["categories"][0]["name"] = "another"
  with pytest.raises(
    ValueError,
    match=r"val2018\.json: category 30 is 'another'; expected 'species 30', as",
  ):
    official()


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_unreadable_json_is_named(official, content):
  file = official.root / "broken.json"
  file.write_text(content)
  with pytest.raises(
    ValueError, match=r"broken\.json: (can't be read as|the content is a list)"
  ):
    sources.load_inaturalist(str(official.root), str(file))
