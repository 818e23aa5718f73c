"""Fonts for names in other scripts."""

import pytest
from matplotlib import font_manager

from blt_jax.report import fonts, style

NOWHERE = "\U0001f9ff"  # An emoji of 2018, in no font that is made here.


def figure_with(text):
  figure, axes = style.new_figure(2.0, 2.0)
  axes[0, 0].set_xticks([0], [text])
  return figure


def label_of(figure):
  (label,) = figure.axes[0].get_xticklabels()
  return label


@pytest.fixture
def installed(monkeypatch):
  """Sets the fonts of the machine: pairs of family and file."""

  def install(*pairs):
    fonts._families.cache_clear()
    monkeypatch.setattr(fonts, "_installed", lambda: iter(pairs))

  yield install
  fonts._families.cache_clear()


def test_names_that_the_own_font_has_need_no_other():
  figure = figure_with("café ÿ Привет قطة <b> $x$")
  fonts.complete(figure)
  assert label_of(figure).get_fontfamily() == [fonts.OWN]
  assert fonts.missing([figure]) == ""


def test_font_with_the_letters_is_used(installed):
  # Of Matplotlib's other fonts, this one has a letter that DejaVu Sans lacks.
  other = "STIXGeneral"
  installed(
    ("nothing", "no/such/file.ttf"), (other, font_manager.findfont(other))
  )
  figure = figure_with("a \u1d81")
  fonts.complete(figure)
  assert label_of(figure).get_fontfamily() == [fonts.OWN, other]
  assert fonts.missing([figure]) == ""


def test_fonts_that_the_machine_got_since_are_looked_at(monkeypatch):
  path = font_manager.findfont("STIXGeneral")
  manager = font_manager.FontManager()
  manager.ttflist = [f for f in manager.ttflist if f.name == fonts.OWN]
  monkeypatch.setattr(font_manager, "fontManager", manager)
  monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path, __file__])
  assert ("STIXGeneral", path) in list(fonts._installed())


def test_letters_without_a_font_are_named_with_their_package(installed):
  installed()
  figures = [figure_with("狗 and 猫"), figure_with("हिन्दी"), figure_with("狗")]
  line = fonts.missing(figures)
  assert "has 8 letters of the names in the figures (" in line
  assert "The packages fonts-noto-cjk and fonts-noto-core (Debian" in line
  assert fonts.missing([figure_with(NOWHERE)]) == (
    f"no font here has 1 letter of the names in the figures ({NOWHERE}): the "
    "PNG files show boxes. The package fonts-symbola (Debian, Ubuntu) has them"
  )
