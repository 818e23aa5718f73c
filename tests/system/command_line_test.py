import io
import sys

import pytest

from blt_jax.system import command_line


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_name_can_be_printed(monkeypatch, encoding):
  written = io.BytesIO()
  for name in ("stdout", "stderr"):
    stream = io.TextIOWrapper(written, encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, name, stream)
  command_line.print_any_text()
  print("写 caf\udce9")
  print("写", file=sys.stderr)
  shown = "写" if encoding == "utf-8" else r"\u5199"
  assert written.getvalue().decode(encoding) == (
    f"{shown} caf\\udce9\n{shown}\n"
  )
