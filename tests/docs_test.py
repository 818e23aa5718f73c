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


def test_readme_maps_every_module_of_the_library():
  text = (ROOT / "README.md").read_text()
  for path in (ROOT / "blt_jax").glob("*.py"):
    if path.name != "__init__.py":
      assert path.name in text, path.name
  for folder in (ROOT / "blt_jax").iterdir():
    if folder.is_dir() and folder.name != "__pycache__":
      assert f"blt_jax/{folder.name}/" in text, folder.name
