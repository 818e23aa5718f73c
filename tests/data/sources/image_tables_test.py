"""Tables of images: formats, columns, paths, classes, and what is left out."""

import csv
import io
import json

import pytest

from blt_jax.data.sources import Columns
from blt_jax.data.sources.image_tables import read_table

CSV = "file_name,label\na/1.jpg,cat\na/2.jpg,dog\nb/3.jpg,cat\n"
PATHS = ["a/1.jpg", "a/2.jpg", "b/3.jpg"]


@pytest.fixture
def root(tmp_path):
  """A folder of three files."""
  for path in PATHS:
    _touch(tmp_path / path)
  return tmp_path


def _touch(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.touch()


def _write(root, content, name="labels.csv"):
  data = content if isinstance(content, bytes) else content.encode()
  (root / name).write_bytes(data)
  return str(root / name)


def _read(root, content, name="labels.csv", **columns):
  table = _write(root, content, name)
  return read_table(table, columns=Columns(**columns))


def _said(table):
  """What a table says: path -> class."""
  names = [table.names[c] for c in table.labels]
  return dict(zip(table.relative.tolist(), names, strict=True))


def _refused(root, content, name="labels.csv", **columns):
  with pytest.raises(ValueError) as caught:
    _read(root, content, name, **columns)
  message = str(caught.value)
  assert "\n" not in message
  assert name in message
  assert "expected" in message
  return message


EXPECTED = {"a/1.jpg": "cat", "a/2.jpg": "dog", "b/3.jpg": "cat"}
OBJECTS = [
  {"file_name": path, "label": label, "sizes": [1, 2]}
  for path, label in EXPECTED.items()
]


@pytest.mark.parametrize(
  "content",
  [
    CSV,
    CSV.replace("\n", "\r\n"),
    CSV.replace(",", ";"),
    CSV.replace(",", "\t"),
    "sep=;\n\n" + CSV.replace(",", ";"),
    CSV.replace(",", " , "),
    CSV.replace("a/", "a\\").replace("b/", ".\\b\\"),
    CSV.replace(".jpg", ""),
    CSV.replace("a/", "./a//"),
    CSV.replace("a/", "/a/").replace("b/", "\\b\\"),
    '"file_name","label"\n"a/1.jpg","cat"\n\n"a/2.jpg",dog\n,,\nb/3.jpg,cat',
    "size,LABEL,File Name\n1,cat,a/1.jpg\n2,dog,a/2.jpg\n3,cat,b/3.jpg\n",
    CSV.encode("utf-8-sig"),
    CSV.encode("utf-16"),
    "\n".join(map(json.dumps, OBJECTS)),
    json.dumps(OBJECTS, indent=1),
    json.dumps(
      {
        "images": [{"id": i, "file_name": p} for i, p in enumerate(PATHS)],
        "annotations": [
          {"image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4]},
          {"image_id": 0, "category_id": 7, "bbox": [5, 6, 7, 8]},
          {"image_id": 1, "category_id": 3},
          {"image_id": 2, "category_id": 7},
        ],
        "categories": [
          {"id": 7, "name": "cat"},
          {"id": 5, "name": "fox"},
          {"id": 3, "name": "dog"},
        ],
      }
    ),
  ],
)
def test_every_format_says_the_same(root, content):
  table = _read(root, content)
  assert _said(table) == EXPECTED
  assert table.names == ("cat", "dog")
  assert table.paths.tolist() == [str(root / path) for path in PATHS]
  assert table.splits is None
  assert table.groups is None


def test_lines_are_counted_from_the_first_of_the_file(root):
  content = 'sep=;\n\nfile;label\na/1.jpg;"x\ny"\n\na/9.jpg;z\n'
  assert "labels.csv:7: no file 'a/9.jpg'" in _refused(root, content)


def test_quoted_cells_hold_separators_and_ends_of_lines(root):
  name = 'a,\n"b".jpg'
  _touch(root / name)
  text = io.StringIO()
  csv.writer(text).writerows([("path", "class"), (name, "x, y")])
  assert _said(_read(root, text.getvalue())) == {name: "x, y"}


def test_columns_are_found_by_their_names_and_said(root):
  table = _read(
    root,
    "image,class_name,label,subset,Patient ID\na/1.jpg,cat,7,dev,p1\n",
  )
  assert table.names == ("cat",)
  assert table.splits.tolist() == ["validation"]
  assert table.groups.tolist() == ["p1"]
  assert table.left_out[0] == (
    f"{root}/labels.csv: paths from 'image', classes from 'class_name', splits"
    " from 'subset', groups from 'Patient ID'; 1 column not used: 'label'"
  )


def test_columns_that_are_not_used_are_named(root):
  others = ["", "fold", "fold", *"abcdefg"]
  header = ",".join(["path", "label", *others])
  line = _read(root, f"{header}\na/1.jpg,cat{',' * len(others)}\n").left_out[0]
  assert line.endswith(
    "; 8 columns not used: 'fold', 'a', 'b', 'c', 'd', 'e', ..."
  )
  entry = json.dumps({"fold": 3, "path": "a/1.jpg", "label": "cat"})
  assert _read(root, entry).left_out[0].endswith("; 1 column not used: 'fold'")


def test_fields_name_columns_and_none_takes_none(root):
  content = "image,dx,label,split,location,eye\na/1.jpg,mel,1,train,x,left\n"
  table = _read(root, content, label="dx", split="none", group="EYE")
  assert (table.names, table.splits) == (("mel",), None)
  assert table.groups.tolist() == ["left"]
  assert _read(root, content, group="none").groups is None


def test_unknown_columns_are_refused_by_name(root):
  message = _refused(root, "id_code,level\na/1.jpg,2\n")
  assert "none of the columns 'id_code', 'level' is known" in message
  assert "--config.dataset.path=NAME" in message
  message = _refused(root, CSV, label="species")
  assert "config.dataset.label is 'species'" in message
  assert "which has 'file_name', 'label'" in message
  message = _refused(root, "path,label,label\na/1.jpg,1,2\n")
  assert "column 'label' is there twice" in message


def test_tables_with_a_column_for_each_class_are_refused_with_what_is(root):
  told = (
    " A table with a column of 0 and 1 for each class, as 'MEL', 'NV', 'BCC'"
    " and 1 more may be, is not read; expected one column with the class's"
    " name."
  )
  header = "image,MEL,NV,BCC,AKIEC"
  assert _refused(root, f"{header}\na/1,1.0,0.0,0.0,0.0\n").endswith(told)
  row = {"image": "a/1", "MEL": 0, "NV": 1, "BCC": 0, "AKIEC": 0.0}
  assert _refused(root, json.dumps(row)).endswith(told)
  for content in ("image,level,x\na/1,1,7\n", f"{header}\n", "image,a,b"):
    assert "for each class" not in _refused(root, content)


def test_names_keep_the_order_of_the_table(root):
  table = _read(root, "path,label\na/1.jpg,wolf\na/2.jpg,bear\nb/3.jpg,wolf\n")
  assert table.names == ("wolf", "bear")
  assert table.labels.tolist() == [0, 1, 0]


def test_numbers_keep_the_order_of_numbers(root):
  table = _read(root, "path,label\na/1.jpg,10\na/2.jpg,9\nb/3.jpg,0\n")
  assert table.names == ("0", "9", "10")
  assert table.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
  "labels, names",
  [
    (("2.0", "1", "1.0"), ("1", "2")),  # pandas, with empty cells.
    (("911", "Golf", "7"), ("911", "Golf", "7")),
    (("010", "002", "0"), ("0", "002", "010")),
    (("e\u0301", "\xe9", " e\u0301 "), ("\xe9",)),
    (("red  fox", "red fox\u200b", "red fox"), ("red fox",)),
  ],
)
def test_labels_are_read_as_people_mean_them(root, labels, names):
  rows = "\n".join(map(",".join, zip(PATHS, labels, strict=True)))
  assert _read(root, f"path,label\n{rows}\n").names == names


def _json_lines(*labels):
  pairs = zip(PATHS, labels, strict=False)
  return "\n".join(json.dumps({"path": p, "label": c}) for p, c in pairs)


def test_numbers_and_names_are_not_mixed_up_in_json(root):
  assert _read(root, _json_lines(10, 9, 9.0)).names == ("9", "10")
  assert _read(root, _json_lines("10", "9", "9")).names == ("10", "9")
  message = _refused(root, _json_lines("cat", 3, "dog"))
  assert f"{root}/labels.csv:2: label is 3, a number, but 'cat' of" in message
  assert "labels.csv:1 is a name" in message


@pytest.mark.parametrize("labels", [("1", "01"), ("10", "0010"), ("0", "00")])
def test_one_number_in_two_forms_is_refused_with_both_lines(root, labels):
  rows = "\n".join(map(",".join, zip(PATHS, labels, strict=False)))
  message = (
    f"{root}/labels.csv:3: label is {labels[1]!r}, but {root}/labels.csv:2 says"
    f" {labels[0]!r}, which is the same number; expected each class's number in"
    " one form."
  )
  assert _refused(root, f"path,label\n{rows}\n") == message
  with_a_name = f"path,label\n{rows}\nb/3.jpg,cat\n"
  assert _refused(root, with_a_name) == message
  assert "labels.csv:2: label is" in _refused(root, _json_lines(*labels))


@pytest.mark.parametrize("label", ["0.5", "-1"])
def test_numbers_that_are_no_class_are_refused(root, label):
  message = _refused(root, f"path,label\na/1.jpg,3\na/2.jpg,{label}\n")
  assert f"labels.csv:3: label is {label}; expected names, or whole" in message


def test_rows_that_lack_something_are_counted(root):
  table = _read(
    root,
    "path,label,split\na/1.jpg,cat,train\na/2.jpg,,train\n,dog,train\n"
    "b/3.jpg,dog,\na/2.jpg,nan,test\n",
  )
  assert _said(table) == {"a/1.jpg": "cat"}
  place = f"such as {root}/labels.csv"
  assert table.left_out[1:-1] == (
    f"left out: 1 row without a path, {place}:4",
    f"left out: 2 rows without a label, {place}:3",
    f"left out: 1 row without a split, {place}:5",
  )


def test_images_that_the_table_does_not_name_are_counted(root):
  for name in ("a/notes.txt", "a/._1.jpg", "a/4.JPG", "c/5.jpg"):
    _touch(root / name)
  table = _read(root, "path,label\na/1.jpg,cat\n")
  assert table.left_out[1] == (
    "left out: 2 images beside those of the table, without a row that counts,"
    f" such as {root}/a/2.jpg"
  )


def test_a_table_without_a_label_is_refused(root):
  message = _refused(root, "path,label\na/1.jpg,\n")
  assert (
    "no row has a path and a label; expected 1 or more (left out:" in message
  )


def test_rows_of_one_file_count_once(root):
  table = _read(root, CSV + "./a/1.jpg,cat\na\\1,cat\n")
  assert _said(table) == EXPECTED
  assert table.left_out[1:] == (
    "counted once: 2 rows of an image that an earlier row has, such as"
    f" {root}/labels.csv:5",
  )


@pytest.mark.parametrize(
  "rows, what",
  [
    ("a/1.jpg,cat,train,x\na/1.jpg,dog,train,x", "label of"),
    ("a/1.jpg,cat,train,x\na/1.jpg,cat,test,x", "split of"),
    ("a/1.jpg,cat,train,x\na/1.jpg,cat,train,y", "group of"),
  ],
)
def test_rows_of_one_file_that_differ_are_refused(root, rows, what):
  message = _refused(root, f"path,label,split,group\n{rows}\n")
  assert f"labels.csv:3: {what}" in message
  assert "labels.csv:2 says" in message


def test_values_of_splits_are_understood(root):
  values = ["Train", "training", "VAL", "valid", "validation", "dev", "TEST"]
  values.append("testing")
  rows = [f"{i}.jpg,cat,{value}" for i, value in enumerate(values)]
  for i in range(len(rows)):
    _touch(root / f"{i}.jpg")
  table = _read(root, "path,label,split\n" + "\n".join(rows))
  expected = ["train"] * 2 + ["validation"] * 4 + ["test"] * 2
  assert table.splits.tolist() == expected


@pytest.mark.parametrize(
  "values", [("True", "False"), ("1", "0"), ("1.0", "0.0"), ("true", "FALSE")]
)
def test_column_is_valid_says_what_validation_is(root, values):
  rows = "".join(f"{p},cat,{v}\n" for p, v in zip(PATHS, values, strict=False))
  table = _read(root, "path,label,is_valid\n" + rows)
  assert table.splits.tolist() == ["validation", "train"]
  assert "splits from 'is_valid'" in table.left_out[0]


def test_column_is_valid_of_json_and_with_other_values(root):
  rows = [{"path": p, "label": "x", "is_valid": p > "b"} for p in PATHS]
  table = _read(root, json.dumps(rows))
  assert table.splits.tolist() == ["train", "train", "validation"]
  assert (
    "labels.csv:2: is_valid '2'; expected True (validation) or False (training)"
  ) in _refused(root, "path,label,is_valid\na/1.jpg,cat,2\n")


@pytest.mark.parametrize(
  "values, message",
  [
    (
      ("3", "1"),
      "labels.csv:2: split '3' is a number of a fold; expected train",
    ),
    (("train", "id_val"), "labels.csv:3: split 'id_val'; expected train"),
  ],
)
def test_other_values_of_splits_are_refused(root, values, message):
  rows = "".join(f"{p},cat,{v}\n" for p, v in zip(PATHS, values, strict=False))
  assert message in _refused(root, "path,label,split\n" + rows)


@pytest.mark.parametrize(
  "content, message",
  [
    (
      "path,label\na,b.jpg,cat\n",
      "labels.csv:2: the row has 3 cells; expected 2",
    ),
    ('path,label\n"a.jpg,cat\n', "labels.csv:2: is not CSV (unexpected end"),
    (b"PK\3\4\0\0", "can't be read as a table (it is not text)"),
    ('{"path": 1}\n{', "labels.csv:2: is not JSON"),
    ('{"path": "a"}\n[1]', "labels.csv: line 2 is '[1]'; expected an object"),
    ("[{]", "labels.csv: can't be read as JSON"),
    ('{"images": []', "labels.csv: can't be read as JSON"),
    ('[{"path": "a/1.jpg", "label": ["x"]}]', "entry 1: label is \"['x']\""),
    (b"path,label\na/1.jpg,caf\xe9\n", "labels.csv:2: label is 'caf\\\\xe9'"),
    ("", "none of the columns"),
  ],
)
def test_broken_tables_are_refused_with_their_line(root, content, message):
  assert message in _refused(root, content)


def test_paths_may_be_relative_to_the_folder_of_the_table(root):
  (root / "images").mkdir()
  _touch(root / "images" / "a" / "1.jpg")
  table = _write(root, "path,label\na/1.jpg,x\na/2.jpg,y\n")
  found = read_table(table, root=str(root / "images"))
  assert found.paths.tolist() == [
    str(root / "images" / "a" / "1.jpg"),
    str(root / "a" / "2.jpg"),
  ]


def test_paths_may_be_absolute_or_go_up_below_the_root(root):
  (root / "tables").mkdir()
  table = _write(
    root, f"path,label\n{root}/a/1.jpg,x\n../b/3.jpg,y\n", "tables/t.csv"
  )
  found = read_table(table, root=str(root))
  assert found.relative.tolist() == ["a/1.jpg", "b/3.jpg"]


@pytest.mark.parametrize("path", ["../out.jpg", "/etc/hostname", "link.jpg"])
def test_paths_do_not_leave_the_root(root, path):
  inner = root / "inner"
  inner.mkdir()
  (root / "out.jpg").touch()
  (inner / "link.jpg").symlink_to(root / "out.jpg")
  message = _refused(inner, f"path,label\n{path},x\n")
  assert f"no file '{path}' in '{inner}'" in message


def test_a_file_that_two_folders_lead_to_is_one(root, monkeypatch):
  monkeypatch.chdir(root)
  _write(root, "path,label\n1.jpg,x\na/1.jpg,x\n2.jpg,y\n")
  for folder in ("a", str(root / "a")):
    found = read_table("./labels.csv", root=folder)
    assert len(found) == 2
    assert found.left_out[1].startswith("counted once: 1 row of an image")


def test_a_link_to_a_file_is_that_file(root):
  (root / "a" / "link.jpg").symlink_to(root / "a" / "1.jpg")
  (root / "a" / "hard.jpg").hardlink_to(root / "a" / "1.jpg")
  (root / "c").symlink_to(root / "b")
  table = _read(root, "path,label\na/1.jpg,x\nb/3.jpg,y\nc/3.jpg,y\n")
  assert table.relative.tolist() == ["a/1.jpg", "b/3.jpg"]
  for again in ("a/link.jpg", "a/hard.jpg"):
    message = _refused(root, f"path,label\na/1.jpg,x\n{again},y\n")
    assert "labels.csv:3: label of" in message


def test_whole_numbers_of_one_value_are_one_group(root):
  groups = ["07", "7.0", "7", "x7", "x07", "", "nan", "-7", "010"]
  for i in range(len(groups)):
    _touch(root / f"{i}.jpg")
  rows = "".join(f"{i}.jpg,cat,{g}\n" for i, g in enumerate(groups))
  table = _read(root, "path,label,group\n" + rows)
  assert table.groups.tolist() == [
    *("7", "7", "7", "x7", "x07", "", "", "-7", "010")
  ]
  assert table.left_out[1] == (
    "joined: 1 group whose number is written in several ways, such as '7',"
    " '07', '7.0'"
  )


def test_names_alone_are_found_in_any_folder(root):
  table = _read(root, "image_id,label\n3,x\n2.jpg,y\n")
  assert _said(table) == {"b/3.jpg": "x", "a/2.jpg": "y"}
  assert table.left_out[1] == (
    "2 images found by name, in a folder that the table does not give"
  )


@pytest.mark.parametrize(
  "path", ["x/3.jpg", "C:\\data\\b\\3.jpg", "https://a.b/3.jpg", "b/3.JPG"]
)
def test_file_of_the_name_of_a_missing_one_is_named(root, path):
  message = _refused(root, f"path,label\n{path},x\n")
  assert message.endswith(f" There is a file '{root}/b/3.jpg'.")


def test_names_of_two_files_are_missing(root):
  _touch(root / "c" / "3.jpg")
  _touch(root / "a" / "1.png")
  message = _refused(root, "path,label\n3.jpg,x\na/1,y\na/2.jpg,z\n")
  assert "labels.csv:2: no file '3.jpg' in" in message
  assert "(2 of the 3 files are missing)" in message


def test_a_note_beside_an_image_is_not_the_image(root):
  _touch(root / "a" / "1.xml")
  assert _said(_read(root, "path,label\na/1,x\n")) == {"a/1.jpg": "x"}


def _coco(images, pairs, categories):
  return json.dumps(
    {
      "info": {"id": 9},
      "images": images,
      "annotations": [
        {"id": i, "image_id": image, "category_id": category}
        for i, (image, category) in enumerate(pairs)
      ],
      "categories": categories,
    }
  )


NAMES = [{"id": 0, "name": "empty"}, {"id": 4, "name": "deer"}]
NAMES += [{"id": 2, "name": "fox"}]
IMAGES = [
  {"id": f"i{i}", "file_name": path, "location": i // 2, "seq_id": "s"}
  for i, path in enumerate(PATHS)
]


def test_coco_leaves_out_images_of_none_and_of_two_categories(root):
  pairs = [("i0", 4), ("i0", 2), ("i0", 4), ("i2", 0)]
  table = _read(root, _coco(IMAGES, pairs, NAMES), "t.json")
  assert _said(table) == {"b/3.jpg": "empty"}
  assert table.left_out[1:] == (
    "left out: 1 image without an annotation, such as 'a/2.jpg'",
    "left out: 1 image of several categories, such as 'a/1.jpg' (deer, fox)",
  )


def test_coco_leaves_out_corrupt_images(root):
  images = [{**IMAGES[0], "corrupt": True}, *IMAGES[1:]]
  pairs = [("i0", 2), ("i1", 4), ("i2", 2)]
  table = _read(root, _coco(images, pairs, NAMES), "t.json")
  assert _said(table) == {"a/2.jpg": "deer", "b/3.jpg": "fox"}
  assert table.left_out[1] == "left out: 1 image that the file calls corrupt"


def test_coco_gives_locations_and_the_order_of_categories(root):
  pairs = [("i0", 2), ("i1", 4), ("i2", 2)]
  table = _read(root, _coco(IMAGES, pairs, NAMES), "t.json")
  assert table.names == ("deer", "fox")
  assert table.groups.tolist() == ["0", "0", "1"]
  assert (
    _read(
      root, _coco(IMAGES, pairs, NAMES), "t.json", group="seq_id"
    ).groups.tolist()
    == ["s"] * 3
  )


@pytest.mark.parametrize(
  "content, message",
  [
    (_coco(IMAGES, [], NAMES), "no annotations; expected COCO's lists"),
    (_coco(IMAGES, [("i9", 4)], NAMES), "image_id of an annotation is 'i9'"),
    (_coco(IMAGES, [("i0", 9)], NAMES), "annotations[0]['category_id'] is 9"),
    (_coco(IMAGES * 2, [("i0", 4)], NAMES), "an image id stands twice"),
    (
      _coco([{"file_name": "a"}], [("i0", 4)], NAMES),
      "images[0]['id'] is None",
    ),
    (
      _coco(IMAGES, [("i0", 4)], [{"id": 4}]),
      "categories[0] has id 4 and name",
    ),
    (
      _coco(IMAGES, [("i0", 4)], [*NAMES, {"id": 8, "name": "fox "}]),
      "categories 2 and 8 are 'fox' and 'fox'",
    ),
  ],
)
def test_broken_coco_is_refused(root, content, message):
  assert message in _refused(root, content, "t.json")
