"""Cases of bad_input_test.py: flags, configurations, experiments."""

from tests.bad_files import Case, files, nothing

DIGITS = "--config=configs/digits_lt.py"
TABLE4 = "--mode=experiment --output=out --experiment=table4"

FLAGS = [
  Case(
    "no flag",
    nothing,
    "",
    ("--config is missing", "needs --config=configs/NAME.py"),
  ),
  Case("unknown flag", nothing, f"{DIGITS} --sped=9", ("'sped'", "--help")),
  Case("mode", nothing, f"{DIGITS} --mode=fly", ("--mode=fly", "<train|")),
  Case("word", nothing, f"{DIGITS} go", ("'go'", "expected --flag=value")),
  Case(
    "unknown field",
    nothing,
    f"{DIGITS} --config.stage2.epoch=3",
    ("--config.stage2.epoch is not", "Did you mean config.stage2.epochs?"),
  ),
  Case(
    "unknown section",
    nothing,
    f"{DIGITS} --config.stage3.epochs=3",
    ("--config.stage3.epochs is not", "mean config.stage"),
  ),
  Case(
    "section as a field",
    nothing,
    f"{DIGITS} --config.stage2=3",
    ("--config.stage2 is not a known field", "expected those of"),
  ),
  Case(
    "method as a field",
    nothing,
    f"{DIGITS} --config.method=neither",
    (
      "--config.method is 'neither'",
      "expected --config=configs/digits_lt.py:method=neither.",
    ),
  ),
  Case(
    "word for a whole number",
    nothing,
    f"{DIGITS} --config.stage2.epochs=few",
    ("--config.stage2.epochs is 'few'", "expected a whole number"),
  ),
  Case(
    "word for a number",
    nothing,
    f"{DIGITS} --config.perturb.p=half",
    ("--config.perturb.p is 'half'", "expected a number"),
  ),
  Case(
    "word for a switch",
    nothing,
    f"{DIGITS} --config.stage2.balanced=maybe",
    ("--config.stage2.balanced is 'maybe'", "expected True or False"),
  ),
  Case(
    "half an interval",
    nothing,
    f"{DIGITS} --config.perturb.confidence='(0.5,'",
    ("--config.perturb.confidence is '(0.5,'", "expected (low, high), each"),
  ),
  Case(
    "no directory",
    nothing,
    f"{DIGITS} --workdir=/proc/none",
    ("--workdir=/proc/none", "can't be written: No such file or directory"),
  ),
  Case(
    "evaluate nothing",
    nothing,
    "--mode=evaluate",
    ("--workdir is missing; --mode=evaluate needs --workdir=DIR",),
  ),
  *(
    Case(f"not used: {flags}", nothing, flags, parts)
    for flags, parts in (
      (
        f"{DIGITS} --output=a",
        ("--output is not used by --mode=train", "--mode=evaluate, predict,"),
      ),
      (
        f"--mode=evaluate --workdir=a {DIGITS} --config.dataset.root=b",
        ("--config is not used by --mode=evaluate", "root=NEW alone says"),
      ),
      (
        "--mode=evaluate --workdir=a --config.seed=1",
        ("--config.seed is not used", "--config.dataset.root, --config"),
      ),
      (
        "--mode=evaluate --workdir=a --config.dataset.rot=1",
        ("--config.dataset.rot is not a known", "config.dataset.root?"),
      ),
      (
        "--mode=evaluate --workdir=a --output=b",
        ("--input is missing; --mode=evaluate --output needs --input",),
      ),
      ("--mode=evaluate --model=a", ("--input is missing", "--model needs")),
      (
        "--mode=evaluate --workdir=a --nocalibrate",
        ("--input is missing", "--mode=evaluate --nocalibrate needs --input"),
      ),
      (
        f"{DIGITS} --nocalibrate",
        (
          "--nocalibrate is not used by --mode=train",
          "--mode=evaluate, predict, export.",
        ),
      ),
      (
        "--mode=report --workdir=a --calibrate",
        ("--calibrate is not used by --mode=report",),
      ),
      (
        "--mode=export --workdir=a --output=b --min_confidence=0.5",
        ("--min_confidence is not used by --mode=export", "--mode=predict."),
      ),
      (
        "--mode=evaluate --workdir=a --input=b --min_confidence=0.5",
        ("--min_confidence is not used by --mode=evaluate",),
      ),
      (
        "--mode=evaluate --workdir=a --input=. --config.dataset.root=b",
        ("--config.dataset.root is not used with --input=.", "with a table"),
      ),
      (
        "--mode=evaluate --workdir=a --input=. --config.dataset.label=b",
        ("--config.dataset.label is not used with --input=.", "with a table"),
      ),
      (
        "--mode=evaluate --workdir=a --input=b --config.dataset.train_list=c",
        ("--config.dataset.train_list is not used with --input=b", ".path"),
      ),
      (
        "--mode=evaluate --workdir=a --config.dataset.label=b",
        ("label is not used by --mode=evaluate", "with --input=TABLE also"),
      ),
      (
        "--mode=evaluate --workdir=a --input=b --config.dataset.five_crop=True",
        ("--config.dataset.five_crop is not used with --input=b",),
      ),
      (
        "--mode=evaluate --workdir=a --config.dataset.five_crop=some",
        ("--config.dataset.five_crop=some",),
      ),
      (
        "--mode=predict --workdir=a --input=b --output=c --workdirs=d",
        ("--workdirs is not used by --mode=predict; expected", "--mode=report"),
      ),
      (
        "--mode=predict --workdir=a --config.dataset.root b",
        ("--config.dataset.root is not used by --mode=predict", "evaluate."),
      ),
      (
        "--mode=report --workdir=a --config.model.pretrained=b",
        ("not used by --mode=report", "compare, experiment, evaluate, predict"),
      ),
      (
        "--mode=export --model=a --output=b --config.model.pretrained=c",
        ("pretrained=c: expected only with --workdir", "--model=a, holds all"),
      ),
      (
        "--mode=export --workdir=a --output=b --seeds=1",
        ("--seeds is not used by --mode=export", "only with --mode=experim"),
      ),
      (
        f"--mode=report --workdir=a {DIGITS}",
        ("--config is not used by --mode=report", "check_data, compare."),
      ),
      (
        f"--mode=check_data {DIGITS} --workdir=a",
        ("--workdir is not used by --mode=check_data",),
      ),
      (f"{TABLE4} --workdir=a", ("--workdir is not used by --mode=experim",)),
      (
        f"{TABLE4} --config.dataset.root=a",
        ("config.dataset.root is 'a'", "source digits, which does not use it"),
      ),
      (
        f"--mode=check_data {DIGITS} --config.dataset.on_error=stop",
        ("config.dataset.on_error is 'stop'", "expected 'replace'"),
      ),
      (
        "--config=configs/image_folder.py --config.dataset.root=a"
        " --config.dataset.train_list=b",
        ("train_list is 'b'; expected ''", "for image_list, inaturalist."),
      ),
      (
        "--config=configs/imagenet_lt.py --config.dataset.source=npz"
        " --config.dataset.test_list=b",
        ("test_list is 'b'; expected '' with config.dataset.source npz",),
      ),
      (
        "--config=configs/image_folder.py --config.dataset.root=a"
        " --config.dataset.imbalance=10",
        ("config.dataset.imbalance is 10; expected none", "profile natural"),
      ),
      (
        "--config.seed=1",
        ("--config is missing; --config.seed needs --config=configs/NAME.py",),
      ),
    )
  ),
  Case(
    "checkpoint of an export",
    nothing,
    "--mode=predict --model=a --checkpoint=last --input=b --output=c",
    ("--checkpoint=last", "holds one checkpoint"),
  ),
  Case(
    "report nothing",
    nothing,
    "--mode=report",
    ("--mode=report needs --workdir=DIR",),
  ),
  Case(
    "report of several runs",
    nothing,
    "--mode=report --workdirs=a,b",
    ("--output is missing", "needs --output=DIR"),
  ),
  Case(
    "output of a check in no folder",
    nothing,
    f"--mode=check_data {DIGITS} --output=no/found.csv",
    ("--output=no/found.csv", "expected a CSV file in an existing folder"),
  ),
  Case(
    "output of a check is a folder",
    nothing,
    f"--mode=check_data {DIGITS} --output=.",
    ("--output=.", "Is a directory", "expected a CSV file"),
  ),
  Case(
    "output of a check that fails",
    nothing,
    "--mode=check_data --config=configs/image_folder.py"
    " --config.dataset.root=images --output=found.csv",
    ("root is 'images'", "expected an existing folder"),
  ),
]

VARIANTS = [
  Case(f"variant {variant}", nothing, f"{DIGITS}:{variant}", parts)
  for variant, parts in (
    ("magic=3", ("'magic=3'", "a key of method, preset")),
    ("seed", ("'seed'", "expected key=value")),
    ("seed=1,seed=2", ("variant seed", "given twice")),
    ("seed=x", ("seed is 'x'", "expected a whole number")),
    ("method=magic", ("method is 'magic'", "expected one of plain")),
    ("preset=best", ("preset is 'best'", "expected one of default")),
    ("lr=big", ("lr is 'big'", "expected base or small")),
    ("confidence=a-b", ("confidence is 'a'", "expected a number")),
    ("backbone=vgg", ("model.backbone is 'vgg'", "one of resnet10")),
    ("batch=33", ("batch_size is 33", "a multiple of the 4 devices")),
    ("batch=400", ("batch_size is 400", "at most the 389 training images")),
  )
]

VALUES = [
  Case(f"value {flags}", nothing, f"{DIGITS} {flags}", parts)
  for flags, parts in (
    (
      "--config.stage2.backbone_rate=nan",
      ("stage2.backbone_rate is nan", "a number of at least 0"),
    ),
    ("--config.seed=-1", ("config.seed is -1", "from 0 to 2147483647")),
    ("--config.seed=1" + 20 * "0", ("config.seed is 1000", "to 2147483647")),
    ("--config.perturb.p=1.5", ("perturb.p is 1.5", "at most 1")),
    (
      "--config.perturb.confidence='(0.5, 0.1)'",
      ("perturb.confidence is (0.5, 0.1)", "low not above high"),
    ),
    ("--config.dataset.mean='(1, 0)'", ("dataset.mean is (1, 0)", "3 values")),
    (
      "--config.stage1.epochs=0 --config.stage2.epochs=0",
      ("stage1.epochs and config.stage2.epochs", "at least one epoch"),
    ),
    (
      "--config.stage1.drop_epochs='(5, 3)'",
      ("stage1.drop_epochs is (5, 3)", "epochs in rising order"),
    ),
    (
      "--config.dataset.image_size=32",
      ("resize_size is 16", "at least config.dataset.image_size, 32"),
    ),
    ("--config.dataset.few_up_to=200", ("few_up_to is 200", "many_above")),
    ("--config.model.loss=hinge", ("loss is 'hinge'", "one of cross_entropy")),
    (
      "--config.model.loss=focal --config.model.margin=0.5",
      ("model.margin is 0.5", "expected 0 with config.model.loss focal"),
    ),
    ("--config.num_devices=5", ("num_devices is 5", "at most the 4 devices")),
    ("--config.dataset.source=web", ("source is 'web'", "one of digits")),
    (
      "--config.dataset.max_per_class=160",
      ("max_per_class is 160", "173 together"),
    ),
    (
      "--config.dataset.max_per_class=20",
      ("class 9 (9) gets 0 training images", "raise max_per_class"),
    ),
    (
      "--config.stage1.reuse=other",
      ("other holds no config.json", "expected a directory"),
    ),
  )
]

CONFIGS = [
  Case("no config", nothing, "--config=nope.py", ("nope.py", "configs/NAME")),
  Case("a folder", nothing, "--config=configs", ("configs:", "configs/NAME")),
  *(
    Case(
      name, files({"mine.py": program}), "--config=mine.py", ("mine.py", *parts)
    )
    for name, program, parts in (
      ("syntax", "def get_config(:\n", ("SyntaxError: invalid syntax",)),
      ("binary", b"\xff\0\n", ("SyntaxError",)),
      (
        "no get_config",
        "x = 1\n",
        ("no attribute 'get_config'; expected a Python file",),
      ),
      ("an import", "import nothing_here\n", ("named 'nothing_here'",)),
      ("raises", "def get_config():\n  1 / 0\n", ("ZeroDivisionError: div",)),
    )
  ),
  Case(
    "config that is none",
    files({"mine.py": "def get_config():\n  return 3\n"}),
    "--config=mine.py",
    ("the configuration is 3", "expected an ml_collections.ConfigDict"),
  ),
]

EXPERIMENTS = [
  Case(
    "experiment without output",
    nothing,
    "--mode=experiment --experiment=table4",
    ("--output is missing; --mode=experiment needs --output=DIR",),
  ),
  Case(
    "no experiment",
    nothing,
    "--mode=experiment --output=out",
    ("--experiment is missing", "expected all or some of fig1"),
  ),
  Case(
    "unknown experiment",
    nothing,
    "--mode=experiment --output=out --experiment=table9",
    ("--experiment=table9", "expected all or some of fig1"),
  ),
  *(
    Case(f"experiment {flags}", nothing, f"{TABLE4} {flags}", parts)
    for flags, parts in (
      ("--seeds=a", ("--seeds=a", "whole numbers from 0")),
      ("--seeds=1,1", ("--seeds=1,1", "different whole numbers")),
      ("--seeds=", ("--seeds=:", "one or more")),
      ("--settings=zzz", ("--settings=zzz", "expected words of blt, ")),
      ("--dataset=mnist", ("--dataset=mnist", "<digits_lt|cifar10_lt")),
      (DIGITS, ("--config can't be given", "expected --dataset=NAME")),
      ("--config.seed=3", ("--config.seed", "the experiment sets it")),
    )
  ),
  Case(
    "experiment into a file",
    files({"out": "a file"}),
    TABLE4,
    ("--output=out is a file", "expected a folder"),
  ),
]
