"""The page of the measurement on a GPU, of numbers that are made up."""

import pytest
from PIL import Image

from benchmarks.gpu import page, parts
from benchmarks.gpu.rows import Row, Store

SIZES = {"batch": 256, "image_size": 224}


def times(milliseconds, **more):
  seconds = milliseconds / 1000
  return {
    "seconds": seconds,
    "quartiles": [0.9 * seconds, 1.2 * seconds],
    "compile_seconds": 21.0,
    "bytes": 5e9,
    **more,
  }


def step(backbone, arithmetic, plain, blt=0.0, *, devices=1, bare=False):
  """(settings, measured) of a plain and, with `blt`, a BLT step."""
  settings = {"backbone": backbone, "arithmetic": arithmetic, "bare": bare}
  measured = {
    "plain": times(plain),
    "images_per_second": 256e3 * devices / plain,
    "plain_flops_per_second": 1e14,
    "plain_share_of_peak": 0.25,
    "BLT_flops_per_second": 0.9e14,
    "BLT_share_of_peak": 0.225,
    "device": "NVIDIA H200",
  }
  if blt:
    measured |= {"unchanged": times(1.05 * plain), "BLT": times(blt)}
    measured |= {"ratio": blt / plain, "limit": 1.18, "hallucinated": 7.5}
    measured |= {"updates": 7.0}
  return settings | SIZES | {"devices": devices}, measured


def accuracies(few):
  """Of a method in part g."""
  groups = ("many", "medium", "few", "overall")
  test = dict(zip(groups, (45.0, 43.0, few, 41.0), strict=True))
  return {"test": test, "updates": 5.8, "reached": 0.83, "epoch_seconds": 0.2}


ASCENT = {"backbone": "resnet10", "slots": 12, "decoder": "Pillow", **SIZES}
FEEDS = ("resident", "", "prefetched")
MEASURED = {
  "a": [
    step("resnet10", "default", 40, 50),
    step("resnet10", "bfloat16", 25, 35),
    step("resnet10", "default", 36, bare=True),
  ],
  "b": [
    (
      ASCENT | {"every": [1, 2]},
      {
        "programs": {
          "1": times(8, images=7, updates=7.1),
          "2": times(5, images=15, updates=7.2),
        }
      },
    ),
    (
      ASCENT | {"widths": {"1": [6, 3, 1], "2": [6, 3]}},
      {
        "programs": {
          "1": times(9, images=7, updates=7.1),
          "2": times(8, images=7, updates=7.1),
        }
      },
    ),
  ],
  "c": [
    (
      {
        "images": [256, 56, 56, 64],
        "filters": 128,
        "kernel": 3,
        "stride": 2,
        "arithmetic": "bfloat16",
      },
      {
        "largest_difference": 1e-3,
        "programs": {
          "output": times(1),
          "images, XLA": times(3),
          "images, by hand": times(2),
          "kernel": times(2),
        },
      },
    )
  ],
  "d": [
    (
      ASCENT | {"resized_on": "device"},
      {
        "bytes": 154e6,
        "reading_seconds": 0.128,
        "programs": {"transfer": times(20), "resize": times(4)},
      },
    ),
    (
      ASCENT,
      {
        "programs": {
          f"{where}{f', {feed}' if feed else ''}": times(25 + 5 * number)
          for where in ("host", "device")
          for number, feed in enumerate(FEEDS)
        }
      },
    ),
  ],
  "e": [step("resnet50", "bfloat16", 90, 120, bare=True)],
  "f": [
    (
      {"backbone": "resnet10", "arithmetic": "default", **SIZES},
      {
        "eager": times(45),
        "compiled": times(40),
        "images_per_second": 6400.0,
        "torch": "2.14",
        "device": "NVIDIA H200",
        "peak_bytes": 9e9,
      },
    )
  ],
  "g": [
    (
      {"arithmetic": arithmetic, "seed": seed},
      {
        "neither": accuracies(27.0 + seed),
        "blt": accuracies(34.0 + 2 * seed),
        "test_images": 2500,
      },
    )
    for seed in range(3)
    for arithmetic in ("default", "bfloat16")
  ],
  "h": [
    step("resnet10", "default", 40 + devices, 50, devices=devices)
    for devices in (1, 2, 4)
  ],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """(text of the page, its folder)."""
  store = Store(tmp_path_factory.mktemp("page"))
  store.claim({"device": "NVIDIA H200", "tiny": False})
  for part, rows in MEASURED.items():
    for number, (settings, measured) in enumerate(rows):
      row = Row(part, f"row{number}", settings, dict)
      store.keep(row, measured=measured)
  path = page.write(store)
  return path.read_text(), path.parent


def test_every_part_has_a_table(written):
  text, _ = written
  sections = text.split("\n## ")[1:]
  assert len(sections) == len(parts.PARTS)
  for section in sections:
    assert "\n|---|" in section


@pytest.mark.parametrize(
  "line",
  [
    "| resnet10, float32, default, 256 images of 224 pixels | "
    "40.00 (36.00-48.00) | 50.00 (45.00-60.00) | 1.250 | 1.180 | 7.5 x 7.0 | "
    "6400 | 100 (25%), 90 (22%) | 5000, 5000 | 21, 21 |",
    "- float32, default: of a BLT step 80% as in a plain step, 4% preparing "
    "and training on the images in the slots, 16% ascent",
    "| 2 | 5.00 (4.50-6.00) | 15 x 7.2 | 21 |",
    "| 1: [6, 3, 1] | 9.00 (8.10-10.80) | 7 x 7.1 | 21 |",
    "| device | 128.0 | 2000 | 154.0 | 20.00 (18.00-24.00) | "
    "4.00 (3.60-4.80) |",
    "| device, prefetched | 35.00 (31.50-42.00) | 7314 | 71% |",
    "| blt, float32, default | 3 | 45.0 ± 0.0 | 43.0 ± 0.0 | 36.0 ± 2.0 | "
    "41.0 ± 0.0 | 5.8 | 83% | 0.20 |",
    "- 4 devices: plain 93%, BLT 100% of the speed of one, each",
  ],
)
def test_lines_of_the_tables(written, line):
  assert f"\n{line}\n" in written[0]


def test_ours_stand_beside_pytorch_without_augmentation(written):
  (line,) = [x for x in written[0].splitlines() if "| 45.00 (" in x]
  # 256 images in 36 ms are 7111 a second.
  assert "| 6400 | 7111 | 1.11 | 9000 |" in line


def test_gradients_of_a_convolution_are_compared(written):
  (line,) = [x for x in written[0].splitlines() if "| 3 x 3 / 2, " in x]
  assert line.endswith("| 1.50 | 1.0e-03 |")


def test_figures_are_drawn(written):
  text, folder = written
  names = {path.name for path in (folder / "figures").iterdir()}
  assert len(names) == 7
  for name in names:
    assert f"(figures/{name})" in text
    with Image.open(folder / "figures" / name) as image:
      assert len(image.convert("L").getcolors()) > 20
