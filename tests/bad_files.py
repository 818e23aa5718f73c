"""Data sets and work directories for bad_input_test.py, good but for one thing.

Each function returns one that fills a folder.
"""

import dataclasses
import io
import json
import os
import pathlib
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from blt_jax.config import check_config, follow
from configs import digits_lt

Prepare = Callable[[pathlib.Path], None]

IMAGES = "images"
RUN = "run"
_CLASSES = ("cat", "dog")
_A_CLASS = 14


class Case(NamedTuple):
  """A mistake: its name, the folder, the command, parts of the one line."""

  name: str
  prepare: Prepare
  command: str
  parts: tuple[str, ...]


def nothing(folder: pathlib.Path) -> None:
  """Leaves the folder as it is."""


def files(contents: dict[str, str | bytes | None]) -> Prepare:
  """Files by name; None deletes one, a name with "/" at the end is a folder."""

  def prepare(folder: pathlib.Path) -> None:
    for name, content in contents.items():
      path = folder / name
      if content is None:
        path.unlink()
      elif name.endswith("/"):
        path.mkdir(parents=True)
      else:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)

  return prepare


def image_folders(contents: dict[str, str | bytes | None] | None = None):
  """images/cat and images/dog with 14 images each, and then other files."""

  def prepare(folder: pathlib.Path) -> None:
    for label, name in enumerate(_CLASSES):
      (folder / IMAGES / name).mkdir(parents=True)
      for number in range(_A_CLASS):
        path = folder / IMAGES / name / f"{number:02d}.png"
        path.write_bytes(png(8, 8, shade=16 * number + label))
    files(contents or {})(folder)

  return prepare


def image_lists(contents: dict[str, str | bytes | None] | None = None):
  """The same with images/train.txt of ten a class, val.txt and test.txt."""

  def prepare(folder: pathlib.Path) -> None:
    image_folders()(folder)
    parts = {"train": range(10), "val": (10, 11), "test": (12, 13)}
    for part, numbers in parts.items():
      lines = [
        f"{name}/{number:02d}.png {label}\n"
        for number in numbers
        for label, name in enumerate(_CLASSES)
      ]
      (folder / IMAGES / f"{part}.txt").write_text("".join(lines))
    files(contents or {})(folder)

  return prepare


def links(targets: dict[str, str], *, first: Prepare) -> Prepare:
  """Symbolic links by name, after other preparations; they replace files."""

  def prepare(folder: pathlib.Path) -> None:
    first(folder)
    for name, target in targets.items():
      (folder / name).unlink(missing_ok=True)
      os.symlink(target, folder / name)

  return prepare


def run_folder(
  change: Callable[[dict[str, Any]], Any] = lambda content: content,
  contents: dict[str, str | bytes | None] | None = None,
) -> Prepare:
  """A work directory run/ of the digits whose config.json is changed.

  Args:
    change: of the configuration; what it returns is written.
    contents: more files.
  """

  def prepare(folder: pathlib.Path) -> None:
    (folder / RUN).mkdir()
    begun = follow(check_config(digits_lt.get_config()))
    content = change(dataclasses.asdict(begun))
    (folder / RUN / "config.json").write_text(json.dumps(content))
    files(contents or {})(folder)

  return prepare


def changed(section: str, **fields: Any) -> Prepare:
  """`run_folder` with other values in a section; ... drops a field."""

  def change(content: dict[str, Any]) -> dict[str, Any]:
    content[section].update(fields)
    for name in [name for name, value in fields.items() if value is ...]:
      del content[section][name]
    return content

  return run_folder(change)


def npz(**arrays: Any) -> bytes:
  """An .npz file."""
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def png(width: int, height: int, *, shade: int = 0) -> bytes:
  """A small PNG image of one colour."""
  file = io.BytesIO()
  Image.new("RGB", (width, height), (shade, 255 - shade, 0)).save(file, "PNG")
  return file.getvalue()


def png_bomb(side: int) -> bytes:
  """A PNG file that claims side x side pixels and has none."""

  def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum

  header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
  pixels = zlib.compress(bytes(1000))
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + chunk(b"IDAT", pixels)
    + chunk(b"IEND", b"")
  )
