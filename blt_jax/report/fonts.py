"""Fonts for the letters of class names that Matplotlib's own font lacks."""

import functools
import unicodedata
from collections.abc import Iterable, Iterator

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

OWN = "DejaVu Sans"  # Comes with Matplotlib: the same everywhere.

# Fonts that Matplotlib can't draw with, or that draw a box for every letter.
_USELESS = ("color", "last resort", "lastresort")


def complete(figure: Figure) -> None:
  """Gives the texts of a figure fonts that have their letters, if any do."""
  for text in _texts(figure):
    letters = _lacking(text.get_text())
    if letters:
      text.set_fontfamily([OWN, *_families(letters)[0]])


def missing(figures: Iterable[Figure]) -> str:
  """A line that names the letters without a font, and packages; "" for none."""
  texts = (text.get_text() for figure in figures for text in _texts(figure))
  _, letters = _families(frozenset().union(*map(_lacking, texts)))
  if not letters:
    return ""
  shown = " ".join(sorted(letters)[:5]) + (" ..." if len(letters) > 5 else "")
  packages = sorted(set(map(_package, letters)))
  named = f"package {packages[0]} (Debian, Ubuntu) has"
  if len(packages) > 1:
    named = f"packages {' and '.join(packages)} (Debian, Ubuntu) have"
  number = "1 letter" if len(letters) == 1 else f"{len(letters)} letters"
  return (
    f"no font here has {number} of the names in the figures ({shown}): the PNG "
    f"files show boxes. The {named} them"
  )


def _texts(figure: Figure) -> Iterator[Text]:
  for axes in figure.axes:
    # Makes the texts of the ticks, which Matplotlib leaves to the drawing.
    axes.get_xticklabels()
    axes.get_yticklabels()
  yield from figure.findobj(Text)


@functools.lru_cache(10_000)
def _lacking(text: str) -> frozenset[str]:
  """The visible letters of a text that the font of the figures lacks."""
  own = _font(font_manager.findfont(OWN))
  assert own is not None
  return frozenset(
    letter
    for letter in text
    # Variation selectors and joiners are no letters of their own.
    if unicodedata.category(letter)[0] not in "C"
    and not "\ufe00" <= letter <= "\ufe0f"
    and not own.get_char_index(ord(letter))
  )


@functools.cache
def _families(letters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
  """Names of fonts that have letters, and the letters that none has."""
  left, names = set(letters), []
  for family, path in _installed() if left else ():
    font = _font(path)
    found = {c for c in left if font and font.get_char_index(ord(c))}
    if found:
      names.append(family)
      left -= found
    if not left:
      break
  return names, frozenset(left)


def _installed() -> Iterator[tuple[str, str]]:
  """Family and file of the fonts of this machine, upright and sans first.

  Matplotlib remembers which fonts were there when it was first used; what was
  installed since follows.
  """
  manager = font_manager.fontManager
  known = list(manager.ttflist)
  yield from _usable(known)
  files = {font.fname for font in known}
  for path in font_manager.findSystemFonts():
    if path not in files:
      try:
        manager.addfont(path)
      except Exception:  # Damaged, or of a kind that Matplotlib can't draw.
        continue
  yield from _usable(manager.ttflist[len(known) :])


def _usable(
  fonts: list[font_manager.FontEntry],
) -> Iterator[tuple[str, str]]:
  upright = [
    (("Sans" not in font.name, font.name), font)
    for font in fonts
    if font.style == "normal"
    and not any(word in font.name.lower() for word in _USELESS)
  ]
  for _, font in sorted(upright, key=lambda pair: pair[0]):
    yield font.name, font.fname


@functools.cache
def _font(path: str) -> FT2Font | None:
  """An open font, or None for one that can't be read."""
  try:
    return FT2Font(path)
  except Exception:  # FreeType raises several kinds.
    return None


def _package(letter: str) -> str:
  """The package of Debian and Ubuntu that has a letter."""
  script = unicodedata.name(letter, "").partition(" ")[0]
  if script in ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO"):
    return "fonts-noto-cjk"
  if unicodedata.category(letter) == "So" or ord(letter) >= 0x1F000:
    return "fonts-symbola"
  return "fonts-noto-core"
