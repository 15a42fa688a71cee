"""Every `python -m vision_jax.…` tells a mistake in its flags in one line, with exit code 2."""

import importlib
import pathlib
import subprocess
import sys

import pytest

import vision_jax
from benchmarks.__main__ import main as benchmarks_main

pytestmark = pytest.mark.usefixtures("at_the_root")
MISTAKES = [
    ("vision_jax.data.convert", "", "required: TFRECORD_DIR, OUT_DIR"),
    ("vision_jax.data.convert", "a b c", "unexpected argument 'c'"),
    ("vision_jax.data.doctor", "", "required: SOURCE"),
    ("vision_jax.data.doctor", "folder:a --size x", "--size: 'x' must be a whole number of at"),
    ("vision_jax.data.doctor", "folder:a --size -3", "--size: '-3' must be a whole number of at"),
    ("vision_jax.data.doctor", "folder:a --decod=1 --x", "--decode: ignored explicit argument '1'"),
    ("vision_jax.data.prepare", "a b", "unexpected argument 'b'"),
    ("vision_jax.data.prepare", "--data-dir x", "'--data-dir' - did you mean --data_dir?"),
    ("vision_jax.export", "run", "required: program"),
    ("vision_jax.export", "run a.stablehlo --time 1.5", "--time: '1.5' must be a whole number"),
    ("vision_jax.export", "run a.stablehlo b --threshold nan", "--threshold: 'nan' must be a num"),
    ("vision_jax.export", "runs/a --format pt", "--format: invalid choice: 'pt'"),
    ("vision_jax.export", "runs/a --outt b", "unexpected argument '--outt' - did you mean --out?"),
    ("vision_jax.inspect", "runs/a --steps x", "--steps: 'x' must be a whole number of at least 1"),
    ("vision_jax.inspect", "runs/a --steps", "--steps: expected one argument"),
    ("vision_jax.inspect", "runs/a --inputs=b", "'--inputs=b' - did you mean --input?"),
    ("vision_jax.proposals", "bing", "required: SOURCE, --out"),
    ("vision_jax.proposals", "bing a --out b --most 0", "--most: '0' must be a whole number of at"),
    ("vision_jax.proposals", "bing a --out b --seed -1", "--seed: '-1' must be a whole number of"),
    ("vision_jax.report", "", "required: COMMAND"),
    ("vision_jax.report", "claim", "COMMAND: invalid choice: 'claim'"),
    ("vision_jax.report", "claims --output x", "'--output' - did you mean --out?"),
    ("vision_jax.show.cascade", "", "required: run"),
    ("vision_jax.show.cascade", "a --rounds 0", "--rounds: '0' must be a whole number of at least"),
    ("vision_jax.show.faces", "", "required: COMMAND"),
    ("vision_jax.show.faces", "compare a b", "required: --weights"),
    ("vision_jax.show.faces", "compare a --weights b --threshold x", "--threshold: 'x' must be a"),
    ("vision_jax.show.faces", "align a b --by eyes", "--by: invalid choice: 'eyes'"),
    ("vision_jax.training.ensemble", "", "required: folders"),
    ("vision_jax.training.ensemble", "a -v", "unexpected argument '-v'"),
    ("vision_jax.weights", "", "required: COMMAND"),
    ("vision_jax.weights", "fech", "COMMAND: invalid choice: 'fech'"),
    ("vision_jax.weights", "show", "required: NAME"),
    ("vision_jax.weights", "list a b", "unexpected argument 'b'"),
]


def _message(capsys, main, text):
    """Returns the one line that a command prints, with exit code 2."""
    assert main(text.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "usage" not in err, err
    return err


@pytest.mark.parametrize(("command", "text", "message"), MISTAKES, ids=lambda text: text[-30:])
def test_a_mistake_is_one_line(capsys, command, text, message):
    try:
        module = importlib.import_module(f"{command}.__main__")
    except ModuleNotFoundError:
        module = importlib.import_module(command)
    assert message in _message(capsys, module.main, text)


def test_the_benchmarks_do_likewise(capsys):
    assert "--rounds: 'x' must be" in _message(capsys, benchmarks_main, "--rounds x")
    assert "did you mean --quick?" in _message(capsys, benchmarks_main, "--quik")


@pytest.mark.parametrize(("command", "text"), [
    ("vision_jax.report", "figures --out FILE"),
    ("vision_jax.weights", "table --out FILE/zoo.md"),
])  # fmt: skip
def test_a_file_where_a_folder_should_be_is_named(capsys, tmp_path, command, text):
    (tmp_path / "taken").write_text("mine")
    main = importlib.import_module(f"{command}.__main__").main
    said = _message(capsys, main, text.replace("FILE", str(tmp_path / "taken")))
    assert "a file has the name of a folder; move it away" in said
    assert (tmp_path / "taken").read_text() == "mine"


def test_no_command_is_left_out():
    """All modules that are run are tried, but for the copier of lines, which has no flags."""
    root = pathlib.Path(vision_jax.__file__).parent
    run = {
        ".".join(("vision_jax", *file.relative_to(root).with_suffix("").parts))
        for file in root.rglob("*.py")
        if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
    }
    tried = {command for command, _, _ in MISTAKES}
    assert {name.removesuffix(".__main__") for name in run} == tried | {"vision_jax.training.relay"}


LONG = (
    "from vision_jax.system import output; output.outlive_reader()\n"
    "for number in range(100_000): print(number)\n"
    "import sys; print('went on', file=sys.stderr)"
)


@pytest.mark.parametrize(
    "command, said",
    [
        (["launch.py", "--list"], ""),
        (["-m", "vision_jax.weights", "list"], ""),
        (["-c", LONG], "went on\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_reader_that_leaves_ends_nothing(command, said):
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    assert process.stderr.read() == said
    process.stderr.close()
    assert process.wait() == 0
