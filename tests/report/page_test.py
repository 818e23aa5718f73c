import base64
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from blt_jax.report import command
from blt_jax.report.html import page, pictures, tables
from blt_jax.report.html.markup import Markup, join, number, tag
from tests.report_runs import ROWS, make_run


def _numbers(content, run=0):
  """{place in results.json: (value, text)} of a report."""
  cells = re.findall(
    rf'data-run="{run}" data-result="([^"]*)" data-value="([^"]*)">'
    r"(?:<b>)?([^<]*)<",
    content,
  )
  return {place: (value, text) for place, value, text in cells}


def test_text_and_attributes_are_escaped():
  made = tag("p", '<b> & "', tag("i", "x"), title='"<', class_="a", hidden=True)
  assert made == (
    '<p title="&quot;&lt;" class="a" hidden>&lt;b&gt; &amp; &quot;<i>x</i></p>'
  )


def test_nothing_lists_and_numbers_are_children_too():
  assert join(None, ["<", Markup("<br>")], 3) == "&lt;<br>3"
  assert tag("br", class_=None) == "<br>"
  assert tag("rect", x=1.005, y=-0.001) == '<rect x="1" y="0"></rect>'


def test_coordinates_are_short():
  assert [number(v) for v in (12.0, 0.125, 3.10, -0.0)] == [
    "12",
    "0.12",
    "3.1",
    "0",
  ]


def test_report_is_one_document_that_asks_for_nothing(tmp_path):
  content = page.render([make_run(tmp_path)])
  assert content.startswith("<!doctype html>")
  assert "<title>blt on digits_lt</title>" in content
  assert "<script" not in content
  assert not re.search(r'(?:src|href)="(?!data:)', content)
  assert "url(" not in content
  assert "http" not in content.replace("http-equiv", "")


def test_class_and_folder_names_are_escaped(tmp_path):
  names = ("<script>alert(1)</script>", 'a"b', "c&d", "'</title>")
  content = page.render([make_run(tmp_path / "<img src=x>", names=names)])
  assert "<script" not in content
  assert "<img src=x" not in content
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
  assert 'a"b' not in content
  assert "'</title>" not in content


def test_numbers_are_those_of_results(tmp_path):
  run = make_run(tmp_path)
  found = _numbers(page.render([run]))
  assert len(found) == 2 * 2 * 2 * 4
  for place, (value, text) in found.items():
    exact = run.results
    for key in place.split("."):
      exact = exact[key]
    assert float(value) == exact
    assert text == f"{exact:.1f}"
  assert found["best.test.few"] == ("25.0", "25.0")


def test_group_without_classes_is_a_dash(tmp_path):
  run = make_run(
    tmp_path,
    counts=(120, 60),
    names=("a", "b"),
    confusion=((3, 1), (0, 4)),
    examples=0,
  )
  content = page.render([run])
  assert _numbers(content)["best.test.few"] == ("", "–")
  assert "nan" not in content.replace("nance", "")
  assert "0 classes, up to 20 images" in content
  assert "<h2>Perturbed images" not in content


def test_sections_of_a_complete_run(tmp_path):
  content = page.render([make_run(tmp_path)])
  assert re.findall(r"<h2>([^<]*)</h2>", content) == [
    "Accuracy by group",
    "Classes by size",
    "What is taken for what",
    "Perturbed images",
    "Hallucination in training",
    "Time",
    "Configuration",
  ]
  assert 'class="missing"' not in content


def test_unfinished_run_shows_what_there_is(tmp_path):
  run = make_run(tmp_path, finished=False)
  content = page.render([run])
  assert "The run is not finished, 5 epochs are recorded" in content
  assert _numbers(content)["best.validation.overall"] == ("60.0", "60.0")
  assert "Classes by size" in content
  assert "Accuracy by group" in content
  assert "What is taken for what" not in content


def test_run_before_its_first_epoch_has_a_report(tmp_path):
  run = make_run(tmp_path, finished=False, recorded=False, rows=())
  content = page.render([run])
  assert "no epoch is recorded" in content
  assert "The classes and their sizes are not recorded yet" in content
  assert re.findall(r"<h2>([^<]*)</h2>", content) == ["Configuration"]


def test_method_that_hallucinates_nothing_says_what_the_examples_are(tmp_path):
  content = page.render([make_run(tmp_path, rows=ROWS[:2])])
  assert "They were made for this report: training used none." in content
  assert "Hallucination in training" not in content


def test_runs_side_by_side_have_their_numbers_and_differences(tmp_path):
  better = ((10, 0, 0, 0), (2, 8, 0, 0), (1, 0, 9, 0), (4, 6, 0, 0))
  runs = [
    make_run(tmp_path / "first"),
    make_run(tmp_path / "second", variant="p=0.5", confusion=better),
  ]
  content = page.render(runs)
  for i, run in enumerate(runs):
    value, text = _numbers(content, run=i)["best.test.few"]
    assert float(value) == run.results["best"]["test"]["few"]
    assert text == f"{float(value):.1f}"
  marked = re.findall(r'data-result="best.test.(\w+)"[^>]*><b>', content)
  # The runs tie on medium; the second one is better in all else.
  assert sorted(marked) == ["few", "many", "medium", "medium", "overall"]
  table = content[content.index("Where the configurations differ") :]
  rows = table[: table.index("</table>")].count("<tr>")
  assert rows == 2
  assert content.count('<tr class="different">') == 1


def test_runs_on_other_classes_are_not_drawn_into_one_chart(tmp_path):
  other = make_run(
    tmp_path / "b",
    counts=(120, 60),
    names=("a", "b"),
    confusion=((3, 1), (0, 4)),
    examples=0,
  )
  content = page.render([make_run(tmp_path / "a"), other])
  assert (
    "Accuracy of each class, largest class first, run by run" not in content
  )
  # Two charts, each for a screen and for a phone.
  assert content.count("Training images of each class, largest class") == 4


def test_equal_runs_have_equal_configurations(tmp_path):
  runs = [make_run(tmp_path / name) for name in ("a", "b")]
  assert "The configurations are the same." in page.render(runs)


def test_report_of_no_run_is_refused():
  with pytest.raises(ValueError, match="runs is empty"):
    page.render([])


def test_same_record_gives_the_same_bytes(tmp_path):
  run = make_run(tmp_path)
  assert page.render([run]) == page.render([run])


@pytest.mark.parametrize("variant, kind", [("cat", "png"), ("", "jpeg")])
def test_picture_comes_back(variant, kind):
  size = 8 if variant else 96
  pixels = np.full((size, size, 3), (0.0, 0.5, 1.2), np.float32)
  head, _, content = pictures.data_uri(pixels).partition(",")
  assert head == f"data:image/{kind};base64"
  image = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
  np.testing.assert_allclose(image[3, 3], [0, 128, 255], atol=3)


@pytest.mark.parametrize(
  "size, factor",
  [(0.0, 0), (0.04, 10), (0.05, 10), (0.06, 5), (0.3, 1), (7.0, 1)],
)
def test_perturbation_is_amplified_to_fill_the_range(size, factor):
  assert pictures.amplification(np.full((2, 2, 3), -size)) == factor


def test_wall_tells_classes_confidences_and_updates(tmp_path):
  content = pictures.wall(make_run(tmp_path), limit=24)
  assert content.count("<figure") == 5
  assert content.count("<img") == 15
  # cat and dog are equally small, so they come in their order.
  assert re.findall(r"<b>(\w+)</b> towards", content) == [
    "cat",
    "cat",
    "dog",
    "dog",
    "dog",
  ]
  text = content.replace("\u00a0", " ")
  assert "10.0 % → 30.0 % · goal 20.0 % reached · 0 updates" in text
  assert "20.0 % → 60.0 % · goal 40.0 % not reached · 4 updates" in text
  assert "no change" in text
  assert "change × 10" in text


def test_wall_is_limited_and_absent_without_examples(tmp_path):
  assert pictures.wall(make_run(tmp_path / "a"), limit=2).count("<figure") == 2
  assert pictures.wall(make_run(tmp_path / "b", examples=0), limit=2) is None


def test_percent_of_the_unknown_is_a_dash():
  assert [tables.percent(v) for v in (None, math.nan, 3.14159)] == [
    "–",
    "–",
    "3.1",
  ]


def test_report_of_a_run_goes_into_its_work_directory(tmp_path, capsys):
  make_run(tmp_path / "run")
  command.report(str(tmp_path / "run"), [], "")
  path = tmp_path / "run" / "report.html"
  assert capsys.readouterr().out.strip() == str(path)
  assert path.read_text().startswith("<!doctype html>")
  assert not list(path.parent.glob("*.tmp"))


def test_report_of_several_runs_needs_an_output(tmp_path):
  folders = [str(tmp_path / name) for name in ("a", "b")]
  for folder in folders:
    make_run(tmp_path / folder)
  with pytest.raises(ValueError, match="--output is missing"):
    command.report(None, folders, "")
  command.report(None, folders, str(tmp_path / "both"))
  assert "2 runs side by side" in (tmp_path / "both/report.html").read_text()


def test_report_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match="needs --workdir=DIR of a run"):
    command.report(None, [], "")
  with pytest.raises(ValueError, match=r"holds no config\.json"):
    command.report(str(tmp_path), [], "")


def test_eight_thousand_classes_stay_below_five_megabytes(tmp_path):
  number = 8142
  confusion = np.zeros((number, number), np.int8)
  confusion[np.arange(number), (np.arange(number) * 7) % number] = 3
  run = make_run(
    tmp_path,
    counts=(1000 // np.arange(1, number + 1) + 2).tolist(),
    names=[f"a species with quite a long name {c}" for c in range(number)],
    confusion=confusion,
    examples=0,
    rows=(),
  )
  assert len(page.render([run])) < 3_000_000


def test_results_of_json_keep_their_digits(tmp_path):
  run = make_run(tmp_path)
  content = json.loads((tmp_path / "results.json").read_text())
  content["best"]["test"]["few"] = 70.00000000000001
  (tmp_path / "results.json").write_text(json.dumps(content))
  run.results["best"] = content["best"]
  assert _numbers(page.render([run]))["best.test.few"] == (
    "70.00000000000001",
    "70.0",
  )
