"""Reads report.html, for the tests of reports."""

import re
from html.parser import HTMLParser


class Reader(HTMLParser):
  """Elements, identifiers and table cells of a page that is well-formed."""

  _VOID = ("br", "hr", "img", "link", "meta", "wbr")

  def __init__(self, content):
    super().__init__()
    self.open, self.tags, self.ids, self.references = [], set(), [], set()
    self.rows = []
    self.feed(content)
    self.close()
    assert not self.open, f"not closed: {self.open}"

  def handle_starttag(self, tag, attrs):
    self._seen(tag, attrs)
    if tag not in self._VOID:
      self.open.append(tag)
    if tag == "tr":
      self.rows.append([])
    if tag in ("th", "td"):
      self.rows[-1].append("")

  def handle_startendtag(self, tag, attrs):
    self._seen(tag, attrs)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if {"th", "td"} & set(self.open):
      self.rows[-1][-1] += data

  def _seen(self, tag, attrs):
    self.tags.add(tag)
    for name, value in attrs:
      if name == "id":
        self.ids.append(value)
      self.references |= set(re.findall(r"#(chart[\w-]+)", value or ""))
      assert not name.startswith("on"), f"{tag} has {name}"


def table_rows(content, caption):
  """The rows of a table, whose caption begins so."""
  part = content[content.index(f'<p class="caption">{caption}') :]
  return Reader(part[part.index("<table") : part.index("</table>") + 8]).rows
