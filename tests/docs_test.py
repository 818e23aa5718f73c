import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page):
  text = page.read_text()
  links = re.findall(r"\]\(([^)#]+)\)", text)
  files = re.findall(r"\b(?:configs|benchmarks)/\w+\.py\b", text)
  assert links or files
  for link in links:
    assert link.startswith("https://") or (page.parent / link).exists(), link
  for file in files:
    assert (ROOT / file).exists(), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_be_filled_in(page):
  assert not re.findall(r"\b[A-Z]{4,}_[A-Z]{4,}\b|\bTODO\b", page.read_text())


def test_readme_has_a_row_for_every_folder_of_the_library():
  text = (ROOT / "README.md").read_text()
  for path in (ROOT / "blt_jax").iterdir():
    if path.is_dir() and path.name != "__pycache__":
      assert text.count(f"\n| `blt_jax/{path.name}/` |") == 1, path.name


def test_architecture_names_files_that_exist():
  text = (ROOT / "docs" / "architecture.md").read_text()
  files = re.findall(r"`([a-z_/0-9]+\.py)", text)
  assert len(files) > 20
  for file in files:
    assert (ROOT / file).exists() or (ROOT / "blt_jax" / file).exists(), file
