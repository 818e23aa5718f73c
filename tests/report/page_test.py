import base64
import hashlib
import html
import math
import re

import pytest

from blt_jax.report import command, style
from blt_jax.report.figures import Drawings
from blt_jax.report.html import (
  page,
  run_tables,
)
from blt_jax.report.html.markup import Markup, join, number, tag
from blt_jax.report.html.script import SCRIPT
from blt_jax.report.html.side_by_side import Runs
from tests.page_reader import Reader, table_rows
from tests.report_runs import ROWS, make_run


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


def _render(*runs):
  return page.render(Runs([Drawings(run) for run in runs]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def content(run):
  return _render(run)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """Two runs on the same classes, the second one better."""
  folder = tmp_path_factory.mktemp("pair")
  better = ((10, 0, 0, 0), (2, 8, 0, 0), (1, 0, 9, 0), (4, 6, 0, 0))
  return (
    make_run(folder / "first"),
    make_run(folder / "second", variant="p=0.5", confusion=better),
  )


def test_report_is_one_document_that_asks_for_nothing(content):
  assert content.startswith("<!doctype html>")
  assert "<title>blt on digits_lt</title>" in content
  assert not re.search(r'(?:src|href)="(?!data:|#)', content)
  assert not re.search(r"url\((?!#)", content)
  assert "http" not in content.replace("http-equiv", "")


def test_page_is_well_formed_and_identifiers_are_unique(content):
  reader = Reader(content)
  assert not reader.tags & {"iframe", "object", "foreignobject"}
  assert len(reader.ids) == len(set(reader.ids)) > 0
  assert set(reader.ids) == reader.references


def test_only_the_script_that_sorts_tables_may_run(content):
  assert re.findall(r"<script>(.*?)</script>", content, re.DOTALL) == [SCRIPT]
  assert content.count("<script") == 1
  digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
  policy = html.unescape(re.findall(r'Policy" content="([^"]*)"', content)[0])
  assert policy.startswith("default-src 'none'; ")
  assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_charts_have_a_text_alternative_and_fit_their_place(content):
  charts = re.findall(r"<svg [^>]*>", content)
  assert len(charts) == 10
  for chart in charts:
    assert 'role="img"' in chart
    assert re.search(r'aria-label="[^"]{20,}"', chart)
    assert re.search(r'viewBox="0 0 [\d.]+ [\d.]+"', chart)
    assert "width=" not in chart


def test_charts_take_the_colours_and_the_font_of_the_page(content):
  charts = re.findall(r"<svg .*?</svg>", content)
  for chart in charts:
    assert set(re.findall(r"#[0-9a-f]{6}\b", chart)) <= {"#808080"}
    assert "font-family" not in chart
    sizes = [float(s) for s in re.findall(r"font-size: ([\d.]+)px", chart)]
    # Of 317 units, of which a phone shows about as many pixels.
    assert min(sizes) >= 9
  used = set(re.findall(r"var\(--([\w-]+)\)", "".join(charts)))
  assert {"ink", "card", *style.GROUP_COLORS.values()} <= used
  for name in used:
    light, dark = style.PALETTE[name]
    assert f"--{name}: {light};" in content
    assert f"--{name}: {dark};" in content


def test_class_and_folder_names_are_escaped(tmp_path):
  names = ("<script>alert(1)</script>", 'a"b', "c&d", "'</svg></title>")
  content = _render(make_run(tmp_path / "<img src=x>", names=names))
  reader = Reader(content)
  assert content.count("<script") == 1
  assert len(reader.ids) == len(set(reader.ids))
  assert "<img src=x" not in content
  shown = content.replace("<wbr>", "")
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
  assert 'a"b' not in content.replace('>a"b<', "")
  assert "'</svg></title>" not in content


def test_numbers_are_those_of_results(run, content):
  rows = Reader(content).rows
  for which in ("best", "last"):
    for split in ("test", "validation"):
      known = run.results[which]
      title = f"{which} ({known['epoch']}), {split}"
      top1, top5 = (row[1:] for row in rows if row[0] == title)
      groups = ("few", "medium", "many", "overall")
      assert top1 == [
        *(
          f"{known[split][g]:.1f}{low:.1f}–{high:.1f}"
          for g in groups
          for low, high in [known[split]["interval"][g]]
        ),
        "54.0",
      ]
      assert top5 == [f"{known[split]['top5'][g]:.1f}" for g in groups]
  tiles = re.findall(r'<div class="value">([^<]*)<', content)
  assert tiles == ["25.0", "80.0", "90.0", "55.0"]


def test_summary_tells_of_the_tail_first(content):
  text = content.replace("\u00a0", " ")
  assert (
    "The few-shot classes are 65.0 points below the many-shot classes. "
    "Training hallucinated 30 images for the tail. 5 epochs took 0:00:50 "
    "(h:mm:ss)." in text
  )


def test_group_without_classes_is_a_dash(tmp_path):
  run = make_run(
    tmp_path,
    counts=(120, 60),
    names=("a", "b"),
    confusion=((3, 1), (0, 4)),
    examples=0,
  )
  content = _render(run)
  assert '<div class="value">–</div>' in content
  assert "nan" not in content.replace("nance", "")
  assert "0 classes, up to 20 images" in content
  assert "<h2>Perturbed images" not in content
  assert "The few-shot classes are" not in content


def test_sections_of_a_complete_run(content):
  assert re.findall(r"<h2>([^<]*)</h2>", content) == [
    "Accuracy by group",
    "Classes by size",
    "What its confidence is worth",
    "What is taken for what",
    "Perturbed images",
    "Hallucination in training",
    "Time",
    "Configuration",
  ]
  assert 'class="missing"' not in content


def test_unfinished_run_shows_what_there_is(tmp_path):
  content = _render(make_run(tmp_path, finished=False, rows=ROWS[:3]))
  assert "The run is not finished, 3 epochs are recorded" in content
  assert ["best (1), validation", "25.0", "80.0", "90.0", "60.0"] in (
    Reader(content).rows
  )
  assert "Classes by size" in content
  assert "Accuracy by group" in content
  assert "What is taken for what" not in content


def test_run_before_its_first_epoch_has_a_report(tmp_path):
  run = make_run(tmp_path, finished=False, recorded=False, rows=())
  content = _render(run)
  assert "no epoch is recorded" in content
  assert "The classes and their sizes are not recorded yet" in content
  assert re.findall(r"<h2>([^<]*)</h2>", content) == ["Configuration"]


def test_finished_run_without_confusion_matrices_says_so(tmp_path):
  content = _render(make_run(tmp_path, recorded=False, rows=ROWS[:1]))
  assert "There are no confusion matrices" in content
  assert "What is taken for what" not in content


def test_method_that_hallucinates_nothing_says_what_the_examples_are(tmp_path):
  content = _render(make_run(tmp_path, rows=ROWS[:2]))
  assert "They were made for this report: training used none." in content
  assert "Hallucination in training" not in content
  assert "Training hallucinated no image." in content


@pytest.fixture(scope="module")
def pair_content(pair):
  return _render(*pair)


def test_runs_side_by_side_have_their_numbers_and_settings(pair, pair_content):
  content, reader = pair_content, Reader(pair_content)
  assert len(reader.ids) == len(set(reader.ids))
  for run, row in zip(pair, reader.rows[1:3], strict=True):
    tested = run.results["best"]["test"]
    order = ("few", "medium", "many", "overall")
    for group, cell in zip(order, row[1:5], strict=True):
      assert cell.startswith(f"{tested[group]:.1f}")
  table = content[content.index("Where the configurations differ") :]
  rows = table[: table.index("</table>")].count("<tr>")
  assert rows == 2
  assert content.count('<tr class="different">') == 1
  # Differences, four groups, counts, classes; of each run confidence,
  # confusion, examples, hallucination and time.
  assert content.count("<svg ") == 1 + 4 + 2 + 2 * (2 + 1 + 1 + 2 + 1)


def test_runs_on_other_classes_are_not_drawn_into_one_chart(tmp_path):
  first = make_run(tmp_path / "a", rows=(), examples=0)
  other = make_run(
    tmp_path / "b",
    counts=(120, 60),
    names=("a", "b"),
    confusion=((3, 1), (0, 4)),
    rows=(),
    examples=0,
  )
  content = _render(first, other)
  titles = re.findall(r'aria-label="([^.]*)\.', content)
  assert titles.count("Training images of each class") == 2
  assert titles.count("Recall of each class by its training images, %") == 2


def test_equal_runs_have_equal_configurations(tmp_path):
  runs = [
    make_run(tmp_path / name, finished=False, recorded=False, rows=())
    for name in ("a", "b")
  ]
  assert "The configurations are the same." in _render(*runs)


def test_report_of_no_run_is_refused():
  with pytest.raises(ValueError, match="needs at least one run"):
    Runs([])


def test_same_record_gives_the_same_bytes(run, content):
  assert _render(run) == content


def test_percent_of_the_unknown_is_a_dash():
  assert [run_tables.percent(v) for v in (None, math.nan, 3.14159)] == [
    "–",
    "–",
    "3.1",
  ]


def test_report_of_a_run_goes_into_its_work_directory(tmp_path, capsys):
  make_run(tmp_path / "run", rows=(), finished=False)
  command.report(str(tmp_path / "run"), [], "")
  path = tmp_path / "run" / "report.html"
  assert capsys.readouterr().out.strip() == str(path)
  assert path.read_text().startswith("<!doctype html>")
  assert not list(path.parent.glob("*.tmp"))


def test_report_of_several_runs_needs_an_output(tmp_path):
  folders = [str(tmp_path / name) for name in ("a", "b")]
  for folder in folders:
    make_run(tmp_path / folder, rows=(), finished=False)
  with pytest.raises(ValueError, match="--output is missing"):
    command.report(None, folders, "")
  command.report(None, folders, str(tmp_path / "both"))
  assert "2 runs side by side" in (tmp_path / "both/report.html").read_text()


def test_report_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match="needs --workdir=DIR of a run"):
    command.report(None, [], "")
  with pytest.raises(ValueError, match=r"holds no config\.json"):
    command.report(str(tmp_path), [], "")


def test_differences_have_intervals_and_are_bold_where_they_are_sure(
  pair_content,
):
  content = pair_content
  (_, row) = table_rows(content, "Points above or below A")
  assert row[1].startswith("+20.0")
  assert row[2].startswith("0.0")
  assert "<strong>+20.0</strong>" in content
  assert "Left out" not in content
