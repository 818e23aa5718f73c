"""The page of a measurement: Markdown tables, and figures."""

import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.gpu import figures, parts
from benchmarks.gpu.rows import Store
from benchmarks.gpu.setup import IN_WORDS, UPDATES
from blt_jax.workdir import files

Rows = list[dict[str, Any]]
GROUPS = ("many", "medium", "few", "overall")
_FAILED = "- {name}: {error}"


def write(store: Store) -> pathlib.Path:
  """Writes page.md and its figures into the folder; returns the page."""
  machine = store.machine() or {}
  measured = {name: _measured(store.kept(name)) for name in parts.PARTS}
  lines = ["# Measured on {device}".format(**{"device": "?", **machine}), ""]
  lines += [f"- {name}: {value}" for name, value in machine.items()]
  lines += [f"- date: {' to '.join(store.dates())}"] if store.dates() else []
  if machine.get("tiny"):
    lines += ["", "Toy sizes: these numbers say nothing about any machine."]
  for name, part in parts.PARTS.items():
    lines += ["", f"## {part.title}", "", *_section(store, name, measured)]
  path = store.folder / "page.md"
  files.write_text(path, "\n".join(lines) + "\n")
  return path


def _section(store: Store, name: str, measured: dict[str, Rows]) -> list[str]:
  """Table, figure and what is missing of a part."""
  lines = []
  if rows := measured[name]:
    lines += _TABLES[name](rows, measured)
    for figure in figures.write(store.folder / "figures", name, measured):
      path = figure.relative_to(store.folder)
      lines += ["", f"![{path.stem}]({path.as_posix()})"]
  else:
    reason = store.left_out().get(name, "")
    lines.append(f"Left out: {reason}" if reason else "Not measured yet.")
  failed = [row for row in store.kept(name) if "error" in row]
  if failed:
    lines += ["", "Failed:", "", *(_FAILED.format(**row) for row in failed)]
  return lines


def _measured(rows: Rows) -> Rows:
  """What was measured, with the settings beside it."""
  return [
    row["settings"] | row["measured"] for row in rows if "measured" in row
  ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  """Lines of a Markdown table."""
  return [
    f"| {' | '.join(head)} |",
    "|" + "---|" * len(head),
    *(f"| {' | '.join(row)} |" for row in rows),
  ]


def milliseconds(times: dict[str, Any]) -> str:
  """The median and the quartiles."""
  low, high = times["quartiles"]
  return f"{1e3 * times['seconds']:.2f} ({1e3 * low:.2f}-{1e3 * high:.2f})"


def _steps(rows: Rows, _: dict[str, Rows]) -> list[str]:
  head = [
    "step",
    "plain, ms",
    "BLT, ms",
    "BLT / plain",
    "limit",
    "images x updates",
    "images/s",
    "plain, BLT: TFLOP/s (of peak)",
    "plain, BLT: MB",
    "compiled in, s",
  ]
  kinds = ("plain", "BLT")
  found = [
    [
      _described(row),
      milliseconds(row["plain"]),
      milliseconds(row["BLT"]) if "BLT" in row else "",
      f"{row['ratio']:.3f}" if "ratio" in row else "",
      f"{row['limit']:.3f}" if "limit" in row else "",
      "{hallucinated:.1f} x {updates:.1f}".format(**row)
      if "ratio" in row
      else "",
      f"{row['images_per_second']:.0f}",
      ", ".join(_rate(row, k) for k in kinds if k in row),
      ", ".join(f"{row[k]['bytes'] / 1e6:.0f}" for k in kinds if k in row),
      ", ".join(f"{row[k]['compile_seconds']:.0f}" for k in kinds if k in row),
    ]
    for row in rows
  ]
  lines = table(head, found)
  lines += ["", *(_ascent_share(row) for row in rows if "unchanged" in row)]
  lines.append(
    "\nNetworks are not trained and images are noise: every image gets "
    f"{UPDATES} updates, as many as in runs on average, where images differ."
  )
  if all(row["plain_share_of_peak"] is None for row in rows):
    lines.append(f"The peak of {rows[0]['device']} is not known here.")
  return lines


def _described(row: dict[str, Any]) -> str:
  text = f"{row['backbone']}, {IN_WORDS[row['arithmetic']]}, {row['batch']} "
  text += f"images of {row['image_size']} pixels"
  if row["devices"] > 1:
    text += f" on each of {row['devices']} devices"
  return text + ", no augmentation" * row["bare"]


def _rate(row: dict[str, Any], kind: str) -> str:
  share = row[f"{kind}_share_of_peak"]
  text = f"{row[f'{kind}_flops_per_second'] / 1e12:.3g}"
  return text + (f" ({share:.0%})" if share is not None else "")


def _ascent_share(row: dict[str, Any]) -> str:
  plain, unchanged, blt = (
    row[kind]["seconds"] for kind in ("plain", "unchanged", "BLT")
  )
  return (
    f"- {IN_WORDS[row['arithmetic']]}: of a BLT step {plain / blt:.0%} as in "
    f"a plain step, {(unchanged - plain) / blt:.0%} preparing and training on "
    f"the images in the slots, {(blt - unchanged) / blt:.0%} ascent"
  )


def _ascents(rows: Rows, _: dict[str, Rows]) -> list[str]:
  lines = []
  for row in rows:
    key = "every" if "every" in row else "widths"
    head = {
      "every": "batches in an ascent",
      "widths": "narrowest width: widths",
    }[key]
    found = [
      [
        name if key == "every" else f"{name}: {row['widths'][name]}",
        milliseconds(times),
        f"{times['images']:.0f} x {times['updates']:.1f}",
        f"{times['compile_seconds']:.0f}",
      ]
      for name, times in row["programs"].items()
    ]
    columns = [head, "ms a batch", "images x updates", "compiled in, s"]
    lines += ["", *table(columns, found)]
  lines.append(
    "\nThe ascent alone, {slots} slots a batch, {backbone}, {arithmetic}. "
    "`perturb.every` is no field any more: the first table is what it would "
    "save.".format(**rows[0] | {"arithmetic": IN_WORDS["default"]})
  )
  return lines[1:]


def _convolutions(rows: Rows, _: dict[str, Rows]) -> list[str]:
  kinds = ("output", "images, XLA", "images, by hand", "kernel")
  found = [
    [
      "{kernel} x {kernel} / {stride}, {0}, {filters} filters".format(
        " x ".join(map(str, row["images"])), **row
      ),
      IN_WORDS[row["arithmetic"]],
      *(milliseconds(row["programs"][kind]) for kind in kinds),
      f"{_by_hand(row):.2f}",
      f"{row['largest_difference']:.1e}",
    ]
    for row in rows
  ]
  head = ["convolution", "arithmetic", *kinds, "XLA / by hand", "difference"]
  return table(head, found)


def _by_hand(row: dict[str, Any]) -> float:
  programs = row["programs"]
  theirs, ours = programs["images, XLA"], programs["images, by hand"]
  return theirs["seconds"] / ours["seconds"]


def _feeding(rows: Rows, _: dict[str, Rows]) -> list[str]:
  pieces = [row for row in rows if "bytes" in row]
  found = [
    [
      row["resized_on"],
      f"{1e3 * row['reading_seconds']:.1f}",
      f"{row['batch'] / row['reading_seconds']:.0f}",
      f"{row['bytes'] / 1e6:.1f}",
      milliseconds(row["programs"]["transfer"]),
      milliseconds(row["programs"]["resize"])
      if "resize" in row["programs"]
      else "",
    ]
    for row in pieces
  ]
  head = ["resized on the", "reading, ms a batch", "images/s", "MB"]
  lines = table([*head, "to the device, ms", "resizing there, ms"], found)
  for row in rows:
    if "bytes" not in row:
      programs = row["programs"]
      found = [
        [
          name,
          milliseconds(times),
          f"{row['batch'] / times['seconds']:.0f}",
          f"{_computing(programs, name) / times['seconds']:.0%}",
        ]
        for name, times in programs.items()
      ]
      columns = ["fed", "ms a step", "images/s", "of it on the device"]
      lines += ["", *table(columns, found)]
  lines.append(
    "\n{batch} JPEG files of noise (500 x 375 pixels) a batch, plain steps of "
    "{backbone}, bfloat16; {decoder} decodes. Resident: the batch lies on the "
    "device already.".format(**rows[0])
  )
  return lines


def _computing(programs: dict[str, Any], name: str) -> float:
  """Seconds of the step whose batch is on the device already."""
  return programs[f"{name.partition(',')[0]}, resident"]["seconds"]


def _pytorch(rows: Rows, measured: dict[str, Rows]) -> list[str]:
  found = []
  for row in rows:
    ours = beside(row, measured)
    found.append(
      [
        f"{row['backbone']}, {IN_WORDS[row['arithmetic']]}, {row['batch']}",
        milliseconds(row["eager"]),
        milliseconds(row["compiled"])
        if isinstance(row["compiled"], dict)
        else row.get("compile_error", "not tried"),
        f"{row['images_per_second']:.0f}",
        f"{ours:.0f}" if ours else "",
        f"{ours / row['images_per_second']:.2f}" if ours else "",
        f"{row['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in row else "",
      ]
    )
  head = ["step", "ms", "torch.compile, ms", "best, images/s"]
  head += ["ours, images/s", "ours / PyTorch", "MB at most"]
  lines = table(head, found)
  lines.append(
    "\nPyTorch {torch} on {device}: plain steps without augmentation, "
    "channels last. There is no BLT step in PyTorch beside ours.".format(
      **rows[0]
    )
  )
  return lines


def beside(row: dict[str, Any], measured: dict[str, Rows]) -> float | None:
  """Images a second of our step beside one of PyTorch's."""
  names = ("backbone", "arithmetic", "batch")
  for ours in (*measured["a"], *measured["e"]):
    if ours["bare"] and all(ours[name] == row[name] for name in names):
      return ours["images_per_second"]
  return None


def _accuracy(rows: Rows, _: dict[str, Rows]) -> list[str]:
  found = []
  for arithmetic in dict.fromkeys(row["arithmetic"] for row in rows):
    same = [row for row in rows if row["arithmetic"] == arithmetic]
    for method in ("neither", "blt"):
      runs = [row[method] for row in same]
      found.append(
        [
          f"{method}, {IN_WORDS[arithmetic]}",
          f"{len(runs)}",
          *(spread([run["test"][g] for run in runs]) for g in GROUPS),
          f"{statistics.mean(run['updates'] for run in runs):.1f}",
          f"{statistics.mean(run['reached'] for run in runs):.0%}",
          f"{statistics.median(run['epoch_seconds'] for run in runs):.2f}",
        ]
      )
  head = ["method", "seeds", *GROUPS, "updates", "reached", "s an epoch"]
  return [
    *table(head, found),
    f"\nTop-1 of the last epoch on {rows[0]['test_images']} test images, "
    "percent; seconds are those of stage 2, without validation.",
  ]


def spread(values: list[float]) -> str:
  """Mean and standard deviation."""
  deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
  return f"{statistics.mean(values):.1f}{deviation}"


def _devices(rows: Rows, measured: dict[str, Rows]) -> list[str]:
  one = next((row for row in rows if row["devices"] == 1), None)
  lines = _steps(rows, measured)
  if one:
    lines += [""] + [
      f"- {row['devices']} devices: "
      + ", ".join(
        f"{kind} {one[kind]['seconds'] / row[kind]['seconds']:.0%}"
        for kind in ("plain", "BLT")
      )
      + " of the speed of one, each"
      for row in rows
      if row is not one
    ]
  return lines


_TABLES: dict[str, Callable[[Rows, dict[str, Rows]], list[str]]] = {
  "a": _steps,
  "b": _ascents,
  "c": _convolutions,
  "d": _feeding,
  "e": _steps,
  "f": _pytorch,
  "g": _accuracy,
  "h": _devices,
}
