"""What users get wrong: one line with the culprit and the remedy, no remains.

Each case runs main.py in a process and a folder of its own.
"""

import pathlib
import shlex

import pytest

from tests import bad_data, bad_exports, bad_flags, bad_tables, command_line
from tests.bad_files import Case, image_folders, png, png_bomb

CASES = [
  *bad_flags.FLAGS,
  *bad_flags.VARIANTS,
  *bad_flags.VALUES,
  *bad_flags.CONFIGS,
  *bad_flags.EXPERIMENTS,
  *bad_data.BAD_LISTS,
  *bad_data.BAD_FOLDERS,
  *bad_data.ARRAYS,
  *bad_tables.TABLES,
  *bad_data.RUNS,
  *bad_data.REPORTS,
  *bad_data.GOING_ON,
  *bad_exports.PREDICTING,
  *bad_exports.EXPORTING,
]


def every_image(content: bytes):
  """Class folders in which all images are the same."""
  return image_folders(
    {
      f"images/{name}/{number:02d}.png": content
      for name in ("cat", "dog")
      for number in range(14)
    }
  )


# Found only while a run reads images, so there is a work directory.
IMAGES = [
  Case(name, every_image(content), f"{bad_data.FOLDERS} {flags}", parts)
  for name, content, flags, parts in (
    ("text", b"no image", "--config.dataset.on_error=stop", ("not an image",)),
    ("empty", b"", "--config.dataset.on_error=stop", ("an empty file",)),
    ("cut", png(8, 8)[:50], "--config.dataset.on_error=stop", ("damaged",)),
    (
      "bomb",
      png_bomb(10_000),
      "--config.dataset.on_error=stop --config.dataset.max_pixels=1000000",
      ("100000000 pixels; expected 1000000 or fewer",),
    ),
  )
]


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "folder"
  folder.mkdir()
  (folder / "configs").symlink_to(command_line.ROOT / "configs")
  return folder


def contents(folder: pathlib.Path) -> dict[str, bytes | None]:
  """What a folder holds, folders and links as None."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    if path.is_file() and not path.is_symlink()
    else None
    for path in folder.rglob("*")
  }


def check(case: Case, finished: command_line.Finished) -> None:
  assert finished.code > 0, finished
  assert "Traceback" not in finished.stdout + finished.stderr
  assert finished.stderr.startswith("error: "), finished.stderr
  assert finished.stderr.endswith("\n")
  assert finished.stderr.count("\n") == 1, finished.stderr
  for part in case.parts:
    assert part in finished.stderr


def test_there_are_enough_cases_and_no_two_have_a_name():
  names = [case.name for case in CASES + IMAGES]
  assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mistake_ends_with_one_line_and_leaves_nothing(
  case, folder, command_lines
):
  case.prepare(folder)
  before = contents(folder)
  check(case, command_lines.run(shlex.split(case.command), folder))
  assert contents(folder) == before


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.name)
def test_bad_image_ends_with_one_line_and_leaves_nothing_half_written(
  case, folder, command_lines
):
  case.prepare(folder)
  before = contents(folder)
  finished = command_lines.run(shlex.split(case.command), folder)
  check(case, finished)
  assert "images/" in finished.stderr
  new = {
    name.split("/", 2)[2]
    for name in contents(folder).keys() - before.keys()
    if name.count("/") > 1
  }
  assert {"config.json", "classes.json"} <= new
  assert not [name for name in new if ".tmp" in name or "results" in name]


@pytest.mark.parametrize(
  "case",
  [bad_flags.FLAGS[1], bad_data.RUNS[3]],
  ids=lambda case: case.name,
)
def test_forked_process_is_like_a_new_one(case, folder, command_lines):
  case.prepare(folder)
  arguments = shlex.split(case.command)
  finished = command_line.run_afresh(arguments, folder)
  check(case, finished)
  assert finished == command_lines.run(arguments, folder)
