"""Reports in a headless Chromium; skipped where none is installed."""

import numpy as np
import pytest

from blt_jax.report import command
from tests import browser as browsers
from tests.report_runs import make_run

pytestmark = pytest.mark.skipif(
  not (browsers.DRIVER and browsers.CHROMIUM),
  reason="chromium and chromedriver are not installed",
)

_OVERFLOW = "return document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def browser():
  with browsers.Browser() as started:
    yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  names = ("<script>window.hurt = 1</script>", "bee", "cat", "W" * 60)
  better = ((10, 0, 0, 0), (2, 8, 0, 0), (1, 0, 9, 0), (4, 6, 0, 0))
  return [
    make_run(folder / "first", names=names),
    make_run(folder / "second", names=names, confusion=better, variant="p=0.5"),
    make_run(folder / ("long" * 20), names=names, finished=False),
  ]


@pytest.fixture(scope="module", params=["one", "three", "unfinished"])
def report(request, runs, tmp_path_factory):
  """(runs of a report, its file)."""
  chosen = {"one": runs[:1], "three": runs, "unfinished": runs[2:]}
  shown = chosen[request.param]
  folder = tmp_path_factory.mktemp("report")
  return shown, command.write_report([run.workdir for run in shown], folder)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_report_loads_without_an_error_and_fits(browser, report, width, dark):
  browser.open(report[1], width=width, dark=dark)
  assert browser.log() == []
  assert browser.run("return document.fonts.status") == "loaded"
  assert browser.run(_OVERFLOW) == 0
  browser.run(
    "document.querySelectorAll('details').forEach(d => d.open = true)"
  )
  assert browser.run(_OVERFLOW) == 0


def test_every_picture_loads(browser, report):
  browser.open(report[1])
  sizes = browser.run(
    "return Array.from(document.images, i => [i.naturalWidth, i.alt.length])"
  )
  finished = [run for run in report[0] if run.results]
  assert len(sizes) == 3 * 5 * len(finished)
  assert all(width > 0 and alternative > 0 for width, alternative in sizes)


def test_every_chart_is_seen_and_has_a_text_alternative(browser, report):
  browser.open(report[1])
  charts = browser.run(
    "return Array.from(document.querySelectorAll('svg'), s => ["
    "s.getAttribute('role'), s.getAttribute('aria-label').length,"
    "s.closest('.narrow') ? 1 : s.getBoundingClientRect().height])"
  )
  assert charts
  assert all(
    role == "img" and text > 10 and height > 0 for role, text, height in charts
  )


def test_numbers_equal_results_json(browser, report):
  browser.open(report[1])
  cells = browser.run(
    "return Array.from(document.querySelectorAll('[data-result]'), e =>"
    " [e.dataset.run, e.dataset.result, e.dataset.value, e.textContent])"
  )
  assert cells
  compared = 0
  for run, place, value, text in cells:
    exact = report[0][int(run)].results
    if exact is None:
      continue
    for key in place.split("."):
      exact = exact[key]
    assert float(value) == exact
    assert text == f"{exact:.1f}"
    compared += 1
  # Best and last on both splits, top-1 and top-5, or the best of one split.
  assert compared >= 8 * sum(run.results is not None for run in report[0])


def test_class_names_do_nothing(browser, report):
  browser.open(report[1])
  assert browser.run("return window.hurt === undefined")
  assert browser.run("return document.scripts.length") == 0


def test_dark_is_dark_and_light_is_light(browser, report):
  brightness = {}
  for dark in (False, True):
    browser.open(report[1], dark=dark)
    colors = browser.run(
      "const s = getComputedStyle(document.body);"
      "return [s.backgroundColor, s.color]"
    )
    brightness[dark] = [
      np.mean([int(v) for v in color.strip("rgb()").split(",")])
      for color in colors
    ]
  (light_paper, light_ink), (dark_paper, dark_ink) = (
    brightness[False],
    brightness[True],
  )
  assert light_paper > 240 > 60 > light_ink
  assert dark_paper < 60 < 200 < dark_ink


def test_a_phone_gets_charts_of_its_own(browser, report):
  shown = {}
  for width in (360, 1100):
    browser.open(report[1], width=width)
    shown[width] = browser.run(
      "return ['wide', 'narrow'].map(c => Array.from(document"
      ".getElementsByClassName(c)).some(e => e.clientHeight > 0))"
    )
  assert shown == {360: [False, True], 1100: [True, False]}
