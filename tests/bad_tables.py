"""Cases of bad_input_test.py: tables of images."""

from tests.bad_files import Case, image_folders

_TABLE = (
  "--config=configs/image_table.py --config.dataset.table=labels.csv"
  " --config.dataset.root=images"
)


def _table(*rows: str, header: str = "path,label,split,camera"):
  """images/cat and images/dog, and a table."""
  return image_folders({"labels.csv": "\n".join((header, *rows))})


TABLES = [
  Case(
    "no table",
    image_folders(),
    _TABLE,
    (
      "labels.csv: can't be read as a table (No such file",
      "save a spreadsheet",
    ),
  ),
  Case(
    "table without a column of classes",
    _table("cat/00.png,3", header="image,level"),
    _TABLE,
    ("none of the columns 'image', 'level'", "--config.dataset.label=NAME"),
  ),
  Case(
    "table with a column for each class",
    _table("cat/00,0.0,1.0", header="image,MEL,NV"),
    _TABLE,
    (
      "--config.dataset.label=NAME",
      "a column of 0 and 1 for each class, as 'MEL', 'NV' may be, is not read;"
      " expected one column with the class's name.",
    ),
  ),
  Case(
    "two labels of one image",
    _table("cat/00.png,cat,,", "cat\\00,dog,,"),
    f"{_TABLE} --config.dataset.split=none",
    ("labels.csv:3: label of", "is 'dog'; expected 'cat', as", "labels.csv:2"),
  ),
  Case(
    "folds",
    _table("cat/00.png,cat,0,", "dog/00.png,dog,1,"),
    _TABLE,
    ("labels.csv:2: split '0' is a number of a fold", "split=none"),
  ),
  Case(
    "splits that tear groups apart",
    _table("cat/00.png,cat,train,a", "dog/00.png,dog,val,a"),
    f"{_TABLE} --config.dataset.group=camera",
    ("1 of 1 group in more than one split", "expected each group in one"),
  ),
  Case(
    "column without a table",
    image_folders(),
    "--config=configs/image_folder.py --config.dataset.root=images"
    " --config.dataset.group=camera",
    ("config.dataset.group is 'camera'; expected ''", "it is for image_table"),
  ),
]
