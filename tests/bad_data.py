"""Cases of bad_input_test.py: lists, folders, arrays, work directories."""

import dataclasses
import json

import numpy as np

from blt_jax.data.longtail import exponential_counts
from blt_jax.workdir.progress import EpochRow
from tests.bad_files import (
  Case,
  Prepare,
  changed,
  files,
  image_folders,
  image_lists,
  links,
  nothing,
  npz,
  png,
  run_folder,
)

_SMALL = (
  " --config.dataset.image_size=8 --config.dataset.resize_size=8"
  " --config.model.backbone=small_resnet10 --config.dataset.root=images"
  " --config.num_devices=1"
)
DIGITS = "--config=configs/digits_lt.py"
LISTS = (
  "--config=configs/image_list.py:batch=2"
  " --config.dataset.train_list=train.txt"
  " --config.dataset.validation_list=val.txt"
  " --config.dataset.test_list=test.txt" + _SMALL
)
FOLDERS = (
  "--config=configs/image_folder.py:batch=2"
  " --config.dataset.validation_per_class=2"
  " --config.dataset.test_per_class=2" + _SMALL
)
OPEN = "--config=configs/image_folder.py"
NPZ = f"{DIGITS} --config.dataset.source=npz --config.dataset.root=a.npz"
INATURALIST = (
  "--config=configs/inaturalist2018.py --config.dataset.root=."
  " --config.dataset.train_list=train.json"
)
EVALUATE = "--mode=evaluate --workdir=run"
REPORT = "--mode=report --workdir=run"
# The classes.json of run_folder().
DIGITS_CLASSES = json.dumps(
  {
    "class_names": [str(digit) for digit in range(10)],
    "class_counts": exponential_counts(120, 24.0, 10).tolist(),
    "validation_counts": [20] * 10,
    "test_counts": [34] * 10,
  }
)
GOOD = "cat/00.png 0\ndog/00.png 1\n"
IMAGES = np.zeros((3, 4, 4, 3), np.uint8)
LABELS = np.arange(3)
_COLUMNS = [field.name for field in dataclasses.fields(EpochRow)]
METRICS = ",".join(_COLUMNS) + "\n" + ",".join("a" for _ in _COLUMNS) + "\n"


def lines(text: str | bytes) -> Prepare:
  """A training list."""
  return image_lists({"images/train.txt": text})


BAD_LISTS = [
  Case("no root", nothing, LISTS, ("'images', which does not exist", "root=")),
  Case(
    "root a file", files({"images": ""}), LISTS, ("is a file", "an existing")
  ),
  *(
    Case(f"list: {name}", prepare, LISTS, parts)
    for name, prepare, parts in (
      (
        "missing",
        image_lists({"images/val.txt": None}),
        ("val.txt", "No such file", "expected 'path label' lines"),
      ),
      ("empty", lines("\n \n"), ("train.txt: no line", "expected 1 or more")),
      (
        "no label",
        lines("a.png\n"),
        ("train.txt:1: the line is 'a", "path label"),
      ),
      ("word", lines(GOOD + "a 1b\n"), (":3: label is '1b'", "a whole number")),
      ("negative", lines("a.png -1\n"), (":1: label is '-1'", "0 or more")),
      ("huge", lines(GOOD + "a 99999\n"), ("label is 99999", "0 to 2")),
      (
        "gap",
        lines(GOOD + "cat/01.png 3\ncat/02.png 0\n"),
        ("class 2 (2) has no training image", "expected 1 or more"),
      ),
      (
        "tabs",
        lines("cat/00.png\t0\ndog/00.png\t1\nfish.png\t1\n"),
        ("train.txt:3: no file 'images/fish.png'", "existing files"),
      ),
      (
        "a folder",
        lines(GOOD + "cat 0\n"),
        ("train.txt:3: no file 'images/cat'", "existing files"),
      ),
      (
        "parent folder",
        lines(GOOD + "../images/cat/01.png 0\n"),
        ("train.txt:3: path '../images", "expected paths below"),
      ),
      (
        "absolute",
        lines(GOOD + "/etc/hosts 0\n"),
        ("train.txt:3: path '/etc/hosts' leaves the root", "paths below"),
      ),
      (
        "link out",
        links({"images/cat/00.png": "/etc/hosts"}, first=image_lists()),
        ("train.txt:1: 'images/cat/00.png' is a link", "files below the root"),
      ),
      (
        "folder link out",
        links(
          {"images/far": "../far"},
          first=image_lists(
            {"images/train.txt": GOOD + "far/a 0\n", "far/a": png(8, 8)}
          ),
        ),
        ("train.txt:3: 'images/far/a' is a link", "files below the root"),
      ),
      (
        "dangling link",
        links({"images/cat/00.png": "gone.png"}, first=image_lists()),
        ("train.txt:1: no file 'images/cat/00.png'", "existing files"),
      ),
      ("binary", lines(bytes(range(256))), ("train.txt", "path label")),
      ("not UTF-8", lines(b"\xe9 0\n"), ("train.txt", "'utf-8' codec")),
      (
        "label of validation",
        image_lists({"images/val.txt": "cat/00.png 7\n"}),
        ("val.txt:1: label is 7", "0 to 1, as there are 2 classes"),
      ),
    )
  ),
  Case(
    "a folder of two classes",
    lines(GOOD + "cat/00.png 1\n"),
    f"{LISTS} --config.dataset.class_folders=True",
    ("train.txt:3: folder 'cat' has label 1", "expected 0"),
  ),
  Case(
    "too few names",
    image_lists({"names.txt": "cat\n"}),
    f"{LISTS} --config.dataset.class_names=names.txt",
    ("train.txt:2: label is 1", "expected 0 to 0, as there are 1 classes"),
  ),
  Case(
    "annotations",
    files({"train.json": "{}"}),
    INATURALIST,
    ("train.json: no categories", "expected a list"),
  ),
  Case(
    "deep annotations",
    files({"train.json": 100_000 * "["}),
    INATURALIST,
    ("train.json: can't be read as JSON", "recursion"),
  ),
]

BAD_FOLDERS = [
  Case("empty root", files({"images/": ""}), FOLDERS, ("images", "2 or more")),
  Case(
    "one class",
    files({"images/cat/0.png": png(8, 8)}),
    FOLDERS,
    ("images: there are 1 class folders", "expected 2 or more"),
  ),
  Case(
    "class without images",
    image_folders({"images/ant/": ""}),
    FOLDERS,
    ("images/ant: no image (the folder is empty)", "images of the class 'ant'"),
  ),
  Case(
    "folder too many",
    files({"images/x/a/1.png": png(8, 8), "images/x/b/1.png": png(8, 8)}),
    FOLDERS,
    (
      "images: there are 1 class folders",
      "If images/x holds them, name it as the root",
    ),
  ),
  Case(
    "texts",
    files({"images/a/1.txt": "", "images/c/1.txt": ""}),
    FOLDERS,
    ("images/a: no image", "(.txt: 1)", "expected images of the class 'a'"),
  ),
  Case(
    "class of validation alone",
    files(
      {f"images/{name}/1.png": "" for name in ("train/a", "train/b", "val/c")}
    ),
    FOLDERS,
    ("images/val: class 'c'", "expected the 2 folders"),
  ),
  Case(
    "two validations",
    files({f"images/{name}/a/": "" for name in ("train", "val", "validation")}),
    FOLDERS,
    ("'val' and 'validation'", "expected one of them"),
  ),
  Case(
    "nothing to hold out",
    files({f"images/{c}/{i}.png": png(8, 8) for c in "ab" for i in "123"}),
    FOLDERS,
    ("the largest class has 3 images", "expected a class with 4 or more"),
  ),
  Case(
    "no validation wanted",
    image_folders(),
    f"{FOLDERS} --config.dataset.validation_per_class=0",
    ("validation_per_class is 0", "expected 1 or more"),
  ),
  Case(
    "no size to pick from",
    files({f"images/{c}/{i}.png": "text" for c in "ab" for i in range(9)}),
    f"{OPEN} --config.dataset.root=images",
    ("images/a/", "can't be read", "one to pick config.dataset.image_size by"),
  ),
  Case(
    "open fields and no root",
    nothing,
    OPEN,
    ("config.dataset.root is ''", "the source image_folder needs it"),
  ),
  Case(
    "size that is too small",
    image_folders(),
    f"{OPEN} --config.dataset.root=images --config.dataset.image_size=4",
    ("image_size is 4", "a whole number from 8", "or 0 to have it picked"),
  ),
  Case(
    "open backbone of other data",
    nothing,
    f"{DIGITS} --config.model.backbone=auto",
    ("model.backbone is 'auto'", "expected one of resnet10"),
  ),
  Case(
    "open batch for more devices than there are",
    files({f"images/{c}/{i}.png": png(8, 8) for c in "ab" for i in range(4)}),
    f"{OPEN} --config.dataset.root=images --config.num_devices=8",
    ("config.num_devices is 8", "at most the 4 devices"),
  ),
  Case(
    "larger profile than classes",
    image_folders(),
    f"{FOLDERS} --config.dataset.profile=step"
    " --config.dataset.max_per_class=100",
    (
      "class 0 (cat) has 10 images",
      "expected 100 or more",
      "lower max_per_class",
    ),
  ),
]

ARRAYS = [
  Case(f"npz: {name}", files({"a.npz": data}), NPZ, ("a.npz", *parts))
  for name, data, parts in (
    ("text", "x", ("not an archive", "numpy.savez")),
    ("cut", npz(train_images=IMAGES)[:-50], ("cut off", "numpy.savez")),
    (
      "lacking",
      npz(x=IMAGES),
      ("no array 'train_images'", "expected ['train_images'"),
    ),
    (
      "objects",
      npz(train_images=np.array([{}]), train_labels=LABELS),
      ("Object arrays cannot be loaded", "numpy.savez"),
    ),
    (
      "floats",
      npz(train_images=IMAGES / 2, train_labels=LABELS),
      ("train_images is float64", "expected uint8"),
    ),
    (
      "negative label",
      npz(train_images=IMAGES, train_labels=-LABELS),
      ("train_labels are -2 to 0", "expected 0 or more"),
    ),
  )
]

RUNS = [
  Case("no run", nothing, EVALUATE, ("run holds no config.json", "expected")),
  Case(
    "run a file", files({"run": ""}), EVALUATE, ("run holds no", "expected")
  ),
  *(
    Case(f"config.json: {name}", prepare, EVALUATE, parts)
    for name, prepare, parts in (
      (
        "cut",
        files({"run/config.json": '{"seed": 0, "dataset": {'}),
        ("run/config.json is not JSON", "line 1 column 25"),
      ),
      (
        "program",
        files({"run/config.json": "open('made', 'w')"}),
        ("run/config.json is not JSON",),
      ),
      (
        "no section",
        run_folder(lambda c: {k: c[k] for k in c if k != "model"}),
        ("config.model is missing", "expected a section"),
      ),
      (
        "section of a number",
        run_folder(lambda c: {**c, "model": 3}),
        ("config.model is 3", "expected a section of fields"),
      ),
      ("more", changed("model", x=1), ("config.model.x", "expected those of")),
      (
        "less",
        changed("model", alpha=...),
        ("model.alpha is missing", "above"),
      ),
      ("a text", changed("model", alpha="a"), ("alpha is 'a'", "a number")),
      ("nested", changed("dataset", mean=[[1], 2, 3]), ("mean", "3 values")),
    )
  ),
  Case(
    "other run",
    run_folder(),
    f"{DIGITS}:seed=3 --workdir=run",
    ("run is of another configuration: seed", "Choose another --workdir"),
  ),
  Case(
    "results.json: cut",
    run_folder(contents={"run/results.json": "{"}),
    f"{DIGITS} --workdir=run",
    ("run/results.json is not JSON",),
  ),
  Case(
    "stage 1 of another run",
    run_folder(),
    f"{DIGITS}:seed=3 --config.stage1.reuse=run",
    ("run, whose stage 1 differs in seed", "expected a run with the same"),
  ),
]

REPORTS = [
  Case(
    "report into a file",
    run_folder(),
    f"{REPORT} --output=run/config.json",
    ("--output=run/config.json is a file", "expected a folder"),
  ),
  *(
    Case(
      f"report: {name} {what}",
      run_folder(contents={f"run/{name}": content}),
      REPORT,
      (f"run/{name}", *parts),
    )
    for name, what, content, parts in (
      ("metrics.csv", "word", METRICS, ("table of numbers", "what a run")),
      ("metrics.csv", "lacks", "a,b\n1,2\n", ("column 'stage'", "expected")),
      ("classes.json", "cut", "{", ("is not JSON",)),
      ("classes.json", "list", "[]", ("holds a list", "an object")),
      (
        "classes.json",
        "words",
        '{"class_counts": ["a"]}',
        ("bad class_counts", "a whole number and a name for each class"),
      ),
      ("results.json", "list", "[1]", ("holds a list", "an object")),
      (
        "results.json",
        "lacks",
        '{"method": "blt"}',
        ("lacks best.validation", "what a finished run writes"),
      ),
      ("perturbed.npz", "text", "PK", ("can't be read", "a run wrote")),
      (
        "perturbed.npz",
        "other",
        npz(a=LABELS),
        ("holds ['a']", "expected the arrays"),
      ),
      (
        "confusion/test-best.npz",
        "range",
        npz(true=LABELS, predicted=LABELS, count=LABELS, num_classes=2),
        ("a class that is none of 0 to 1", "what a run writes"),
      ),
    )
  ),
  Case(
    "report of a changed config.json",
    changed("model", x=1),
    REPORT,
    ("run/config.json: config.model.x", "expected those of"),
  ),
]

# What a run goes on with, or an evaluation.
GOING_ON = [
  *(
    Case(
      f"config.json: {name}",
      files({"run/config.json": content}),
      EVALUATE,
      ("run/config.json", *parts),
    )
    for name, content, parts in (
      ("list", "[1, 2]", ("expected",)),
      ("number", "3", ("expected",)),
      ("not UTF-8", b"\xff{}", ("can't decode",)),
      ("deep", 100_000 * "[", ("recursion",)),
    )
  ),
  *(
    Case(
      f"{name}: {what}",
      run_folder(contents={f"run/{name}": content}),
      f"{DIGITS} --workdir=run",
      (f"run/{name}",),
    )
    for name, what, content in (
      ("results.json", "a list", "[1]"),
      ("results.json", "lacking", '{"method": "blt"}'),
      ("results.json", "not UTF-8", b"\xff{}"),
      ("classes.json", "a list", "[]"),
    )
  ),
  Case(
    "no checkpoint",
    run_folder(contents={"run/classes.json": DIGITS_CLASSES}),
    EVALUATE,
    ("--workdir=run holds no checkpoint yet",),
  ),
  Case(
    "empty checkpoint",
    run_folder(
      contents={
        "run/checkpoints/12/": "",
        "run/classes.json": DIGITS_CLASSES,
      }
    ),
    EVALUATE,
    ("no readable checkpoint in ", "another --workdir"),
  ),
]
