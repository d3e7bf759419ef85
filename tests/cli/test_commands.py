"""The commands: help, arguments, exit codes."""

import re
import subprocess
import sys

import pandas
import pytest

from sk_tune import __version__
from sk_tune._cli import main


def _run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", [[], ["fit"], ["predict"], ["demo"], ["resume"]])
def test_help_imports_neither_torch_nor_pandas_nor_sklearn(command):
    """Help appears without slow imports."""
    done = _run("-X", "importtime", "-m", "sk_tune", *command, "--help")

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert done.stdout.startswith("usage: sk-tune")
    assert "sk_tune._cli._main" in imported
    assert not {"torch", "sklearn", "pandas", "numpy"} & imported


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "none.csv", "--target", "y"],
        ["fit", "none.csv", "--taget", "y"],
        ["predict", "none", "none.csv"],
        ["resume", "none"],
        ["report", "none"],
        ["export", "none", "--output", "a.onnx"],
        ["store", "info", "none.db"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_and_missing_files_need_no_slow_imports(arguments):
    """The error is one line without a traceback, with exit code 2."""
    done = _run("-X", "importtime", "-m", "sk_tune", *arguments)

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    told = [line for line in done.stderr.splitlines() if "import time:" not in line]
    assert done.returncode == 2
    assert told[0].startswith(f"sk-tune {arguments[0]}: error: ")
    assert len(told) == (2 if "--taget" in arguments else 1)
    assert not {"torch", "sklearn", "pandas", "numpy", "joblib"} & imported


BAD_VALUES = {
    "--test-size": (["1.5", "1", "few"], ">= 0 and < 1"),
    "--random-state": (["-1", "one", str(2**32)], "whole number"),
    "--n-jobs": (["0", "two"], "at least 1"),
    "--time-budget": (
        ["", "fast", "0", "0s", "-5s", "10x", "nan", "s", "1:30"],
        "such as 60s",
    ),
    "--max-size": (["", "much", "-5M", "5T"], "such as 800k"),
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, (values, _) in BAD_VALUES.items() for value in values],
)
def test_bad_values_are_refused(option, value, fails):
    """The error names the option, the requirement and the value."""
    command = ["store", "info", "fits.db"] if option == "--max-size" else ["demo"]

    fails([*command, f"{option}={value}"], option, BAD_VALUES[option][1], repr(value))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["frobnicate"], ["frobnicate", "--help"]),
        (["fit", "x.csv"], ["--target", "fit --help"]),
        # A misspelt option is named with the nearest one, before others are missed.
        (["fit", "a.csv", "--taget", "y"], ["unknown option --taget.", "mean --target?"]),
        (
            ["fit", "a.csv", "--time-buget=5s", "y"],
            ["unknown option --time-buget.", "mean --time-budget?"],
        ),
        (["fit", "a.csv", "--colour", "y"], ["unknown option --colour.", "fit --help"]),
        # The dashes alone make no option similar, such as --times and --use.
        (["fit", "a.csv", "--metrics", "f1"], ["unknown option --metrics.\nSee"]),
        (["fit", "a.csv", "--seed=1"], ["unknown option --seed.\nSee"]),
        (["fit", "a.csv", "--n_jobs=1"], ["unknown option --n_jobs.", "mean --n-jobs?"]),
        # Options may be shortened, and values begin with hyphens: the file is looked for.
        (["fit", "none.csv", "--tar", "y", "--test", "0.3"], ["'none.csv'"]),
        (["fit", "none.csv", "--target=--y"], ["'none.csv'"]),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_named(command, words, fails):
    """The error is one line that refers to the help."""
    fails(command, *words)


def test_version_and_help(capsys):
    """A call without arguments fails, but prints the help."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sk-tune {__version__}\n"
    assert main([]) == 2
    assert "predict" in capsys.readouterr().out
    for command in ("fit", "predict", "demo"):
        assert main([command, "--help"]) == 0
        assert "pickle" in capsys.readouterr().out


def test_the_help_of_the_demo_mentions_only_its_own_options(capsys):
    """Options of other commands do not exist here, and sk_tune_demo is always replaced."""
    assert main(["demo", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())

    options = set(re.findall(r"(?<!\w)--[a-z-]+", text.partition("A model.joblib")[0]))
    assert options.isdisjoint({"--target", "--trusted"})
    assert "--task" in options  # Suggested by the output.
    assert "Predict with this model (default: ensemble)" in text
    assert "a demo always replaces files in sk_tune_demo" in text


def test_an_interrupt_is_one_line_and_code_130(monkeypatch, capsys, mixed_csv):
    """Ctrl-C gives the shell's exit code; unexpected errors keep their traceback."""
    command = ["fit", str(mixed_csv), "--target", "label"]

    def ends_with(error):
        def read_csv(*args, **kwargs):
            raise error

        monkeypatch.setattr(pandas, "read_csv", read_csv)

    ends_with(KeyboardInterrupt)
    assert main(command) == 130
    assert capsys.readouterr().err.strip() == "sk-tune: interrupted; no files were written."
    ends_with(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        main(command)


def test_a_closed_pipe_is_not_a_crash():
    """As in ``sk-tune ... | head -1``: no error about the closed pipe."""
    script = (
        "import sys, os; read, write = os.pipe(); os.close(read); os.dup2(write, 1);"
        "from sk_tune._cli import main; import sk_tune._cli._main as m;"
        "m._run = lambda *a: print('x' * 100); sys.exit(main(['demo']))"
    )

    done = _run("-c", script)

    assert (done.returncode, done.stderr) == (1, "")
