"""The table of classes in a browser: a click on a heading sorts it.

Without Chromium these tests are skipped.
"""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from blt_jax.report.figures import Drawings
from blt_jax.report.html import page, script
from blt_jax.report.html.side_by_side import Runs
from tests.report_runs import make_run

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_BROWSER = next(filter(None, map(shutil.which, _BROWSERS)), None)
pytestmark = pytest.mark.skipif(_BROWSER is None, reason="needs Chromium")

# Clicks on headings and, last, on the button that shows all rows. After each
# click: what the headings say of their order, and the rows that are seen.
_CLICKS = """
const table = document.querySelector("table.classes"), found = [];
const look = () => found.push({
  sorted: [...table.tHead.rows[0].cells].map(h => h.ariaSort),
  rows: [...table.tBodies[0].rows].filter(r => !r.hidden).map(
    r => [...r.cells].map(c => c.textContent)),
});
look();
for (const name of ["class", "class", "recall", "precision", "precision"]) {
  const heads = [...table.tHead.rows[0].cells];
  heads.find(h => h.textContent === name).firstChild.click();
  look();
}
document.querySelector("button.more").click();
look();
document.body.textContent = JSON.stringify(found);
"""


def _dom(folder, content):
  """A page as the browser shows it."""
  path = folder / "page.html"
  path.write_text(content)
  finished = subprocess.run(
    [
      *(_BROWSER, "--headless", "--no-sandbox", "--disable-gpu"),
      f"--user-data-dir={folder / 'browser'}",
      *("--virtual-time-budget=1000", "--dump-dom", path.as_uri()),
    ],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )
  return finished.stdout


@pytest.fixture(scope="module")
def content(tmp_path_factory):
  """The page of a run with 60 classes, some without any answer."""
  number = 60
  classes = np.arange(number)
  confusion = np.zeros((number, number), int)
  confusion[classes, classes] = classes % 11
  confusion[classes, (classes + 1) % number] += 10 - classes % 11
  confusion[:, 5], confusion[:, 40] = 0, 0  # These two are never answered.
  run = make_run(
    tmp_path_factory.mktemp("run"),
    counts=(200 - 3 * classes).tolist(),
    names=[f"kind {c}" for c in range(number)],
    confusion=confusion,
    rows=(),
    examples=0,
  )
  return page.render(Runs([Drawings(run)]))


@pytest.fixture(scope="module")
def states(content, tmp_path_factory):
  """What `_CLICKS` found."""
  allowed = content.replace(html.escape(script.SOURCE), "'unsafe-inline'")
  assert allowed != content
  changed = allowed.replace("</body>", f"<script>{_CLICKS}</script></body>")
  assert changed != allowed
  found = _dom(tmp_path_factory.mktemp("dom"), changed)
  (body,) = re.findall(r"<body[^>]*>(.*?)</body>", found, re.DOTALL)
  return json.loads(html.unescape(body))


def _column(state, place):
  return [row[place] for row in state["rows"]]


def test_smallest_classes_come_first_and_fifty_are_shown(states):
  assert _column(states[0], 0) == [f"kind {c}" for c in range(59, 9, -1)]
  assert states[0]["sorted"][:3] == [None, "ascending", None]


def test_names_are_in_the_order_of_their_numbers(states):
  assert _column(states[1], 0) == [f"kind {c}" for c in range(50)]
  assert states[1]["sorted"][:3] == ["ascending", None, None]
  assert _column(states[2], 0) == [f"kind {c}" for c in range(59, 9, -1)]
  assert states[2]["sorted"][0] == "descending"


def test_numbers_are_sorted_as_numbers(states):
  recalls = [float(text) for text in _column(states[3], 2)]
  assert recalls == sorted(recalls)
  assert recalls[-1] > 60
  assert states[3]["sorted"][:3] == [None, None, "ascending"]


def test_unknown_values_come_last_in_both_orders(states):
  assert "–" not in _column(states[4], 3) + _column(states[5], 3)
  falling = _column(states[6], 3)
  known = len(falling) - falling.count("–")
  assert 50 <= known < 60
  assert set(falling[known:]) == {"–"}
  numbers = [float(text) for text in falling[:known]]
  assert numbers == sorted(numbers, reverse=True)


def test_a_button_shows_all_rows(states):
  assert [len(state["rows"]) for state in states] == [50] * 6 + [60]


def test_page_lets_its_own_script_run(content, tmp_path):
  found = _dom(tmp_path, content)
  assert '<button class="more">Show all 60</button>' in found
