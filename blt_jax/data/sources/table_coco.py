"""Rows of COCO's JSON, as camera-trap projects publish their labels in."""

import dataclasses
from collections.abc import Callable
from typing import Any

from blt_jax.data.sources import Columns
from blt_jax.data.sources.class_names import shown_name
from blt_jax.data.sources.table_columns import choose_columns, is_usual
from blt_jax.data.text import counted

_NEEDED = (
  "images",
  "annotations",
  "categories",
  "id",
  "name",
  "image_id",
  "category_id",
  "corrupt",
)


def slimmer(columns: Columns) -> Callable[[dict[str, Any]], dict[str, Any]]:
  """A hook that drops the keys that are not needed while JSON is parsed.

  Sizes, boxes and outlines take most of the memory of a file.
  """
  asked = {columns.path, columns.label, columns.split, columns.group}
  known: dict[str, bool] = dict.fromkeys((*_NEEDED, *asked), True)

  def slim(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in entry.items():
      keep = known.get(key)
      if keep is None:
        keep = known.setdefault(key, is_usual(key))
      if keep:
        kept[key] = value
    return kept

  return slim


def rows(file: str, content: Any, columns: Columns) -> dict[str, Any]:
  """The fields of `Cells`: a row for each image with one category.

  Several boxes of one category are one label. Images without an annotation,
  images of several categories and those that are called corrupt are left out.

  Raises:
    ValueError: names the section and the entry that is wrong.
  """
  if not isinstance(content, dict):
    content = {}
  images = _section(file, content, "images")
  categories = _section(file, content, "categories")
  label = columns.label or "name"
  names = _names(file, categories, label)
  keys = dict.fromkeys(key for image in images for key in image)
  # The label is not a key of the images, but of the categories.
  header = [*(key for key in keys if key != label), label]
  chosen = choose_columns(
    file, header, dataclasses.replace(columns, label=label)
  )
  found = _categories_of(file, _section(file, content, "annotations"), names)
  ids = [image.get("id") for image in images]
  wrong = [i for i, number in enumerate(ids) if not _is_id(number)]
  if wrong:
    raise ValueError(
      f"{file}: images[{wrong[0]}]['id'] is {ids[wrong[0]]!r}; expected a"
      " number or a text."
    )
  if len(set(ids)) != len(ids):
    raise ValueError(f"{file}: an image id stands twice; expected each once.")
  unknown = found.keys() - set(ids)
  if unknown:
    raise ValueError(
      f"{file}: image_id of an annotation is {sorted(map(str, unknown))[0]!r};"
      f" expected the id of one of the {len(ids)} images."
    )
  whole = [image for image in images if image.get("corrupt") is not True]
  kept = [image for image in whole if len(found.get(image["id"], ())) == 1]
  lines = _left_out(whole, found, names, chosen["path"])
  if len(whole) < len(images):
    corrupt = counted(len(images) - len(whole), "image")
    lines.append(f"left out: {corrupt} that the file calls corrupt")
  return {
    "chosen": chosen,
    "columns": {
      content: [
        names[next(iter(found[image["id"]]))]
        if content == "label"
        else image.get(name)
        for image in kept
      ]
      for content, name in chosen.items()
    },
    "rows": [image["id"] for image in kept],
    "unit": "image",
    "order": tuple(names.values()),
    "left_out": tuple(lines),
  }


def _is_id(value: Any) -> bool:
  return isinstance(value, int | str)


def _section(file: str, content: Any, name: str) -> list[dict[str, Any]]:
  """A list of objects in the file."""
  entries = content.get(name)
  if not isinstance(entries, list) or not entries:
    raise ValueError(
      f"{file}: no {name}; expected COCO's lists 'images', 'annotations' and"
      " 'categories', or an object a line."
    )
  for i, entry in enumerate(entries):
    if not isinstance(entry, dict):
      raise ValueError(f"{file}: {name}[{i}] is {entry!r}; expected an object.")
  return entries


def _names(
  file: str, categories: list[dict[str, Any]], label: str
) -> dict[Any, str]:
  """{category id: name} in the order of the file."""
  names: dict[Any, str] = {}
  ids: dict[str, Any] = {}
  for i, category in enumerate(categories):
    number, name = category.get("id"), category.get(label)
    is_text = isinstance(name, str) and name.strip()
    if not _is_id(number) or not is_text:
      raise ValueError(
        f"{file}: categories[{i}] has id {number!r} and {label} {name!r};"
        " expected a number and a text."
      )
    name = shown_name(str(name))
    if number in names or name in ids:
      other = number if number in names else ids[name]
      raise ValueError(
        f"{file}: categories {other} and {number} are {names[other]!r} and"
        f" {name!r}; expected different ids and different names."
      )
    names[number], ids[name] = name, number
  return names


def _categories_of(
  file: str, annotations: list[dict[str, Any]], names: dict[Any, str]
) -> dict[Any, set[Any]]:
  """{image id: the ids of its categories}."""
  found: dict[Any, set[Any]] = {}
  for i, annotation in enumerate(annotations):
    image = annotation.get("image_id")
    category = annotation.get("category_id")
    if not _is_id(image):
      raise ValueError(
        f"{file}: annotations[{i}]['image_id'] is {image!r}; expected the id of"
        " an image."
      )
    if not _is_id(category) or category not in names:
      raise ValueError(
        f"{file}: annotations[{i}]['category_id'] is {category!r}; expected one"
        f" of the {len(names)} ids of its categories."
      )
    found.setdefault(image, set()).add(category)
  return found


def _left_out(
  images: list[dict[str, Any]],
  found: dict[Any, set[Any]],
  names: dict[Any, str],
  path: str,
) -> list[str]:
  """Lines about images without a category and with several."""
  without = [image for image in images if image.get("id") not in found]
  several = [i for i in images if len(found.get(i.get("id"), ())) > 1]
  lines = []
  if without:
    lines.append(
      f"left out: {counted(len(without), 'image')} without an annotation, such"
      f" as {without[0].get(path)!r}"
    )
  if several:
    those = ", ".join(
      name for c, name in names.items() if c in found[several[0]["id"]]
    )
    lines.append(
      f"left out: {counted(len(several), 'image')} of several categories, such"
      f" as {several[0].get(path)!r} ({those})"
    )
  return lines
