"""Completion in shells."""

import shutil
import subprocess

import pytest

from sk_tune.cli import main


def _script(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_its_options_are_known(shell, capsys):
    """The script is made of the parser, so that nothing is forgotten."""
    script = _script(shell, capsys)

    for word in ("fit", "predict", "resume", "export", "time-budget", "time-column"):
        assert word in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sk-tune pre", {"predict"}),
        ("sk-tune fit --ta", {"--target", "--task"}),
        ("sk-tune predict --pro", {"--proba"}),
        ("sk-tune demo --table ti", {"titanic"}),
        ("sk-tune completion ti", set()),
    ],
)
def test_bash_completes(words, expected, capsys):
    """What begins so is offered."""
    script = _script("bash", capsys)
    listed = " ".join(words.split())
    position = len(words.split()) - 1
    script += f"""
COMP_WORDS=({listed}); COMP_CWORD={position}; _sk_tune; echo "${{COMPREPLY[@]}}" """

    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert set(done.stdout.split()) == expected


def test_an_unknown_shell_is_refused(fails):
    """Those that are known are named."""
    fails(["completion", "csh"], "csh", "bash")
