# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What completes commands and options in a shell, made of the parser itself."""

import argparse

__all__ = ["completion"]

_BASH = """_sk_tune() {
    local word="${COMP_WORDS[COMP_CWORD]}" words choices
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="COMMANDS"
    else
        case "${COMP_WORDS[1]}" in
CASES
        esac
    fi
    if [[ "$word" == -* || "$COMP_CWORD" -eq 1 ]]; then
        COMPREPLY=( $(compgen -W "$words" -- "$word") )
    else
        COMPREPLY=( $(compgen -W "$choices" -- "$word") $(compgen -f -- "$word") )
    fi
}
complete -o filenames -F _sk_tune sk-tune"""


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script of a command line for "bash", "zsh" or "fish"."""
    commands = _commands(parser)
    if shell == "fish":
        return "\n".join(_fish(commands))
    cases = "\n".join(
        f'            {name}) words="{" ".join(_options(own))}"'
        f' choices="{" ".join(_choices(own))}" ;;'
        for name, own in commands.items()
    )
    script = _BASH.replace("COMMANDS", " ".join(commands)).replace("CASES", cases)
    if shell == "zsh":
        return f"autoload -U +X bashcompinit && bashcompinit\n{script}"
    return script


def _fish(commands: dict[str, argparse.ArgumentParser]) -> list[str]:
    none_yet = "__fish_use_subcommand"
    lines = [f"complete -c sk-tune -f -n {none_yet} -a '{' '.join(commands)}'"]
    for name, own in commands.items():
        for option in _options(own):
            flag = option.lstrip("-")
            after = f"'__fish_seen_subcommand_from {name}'"
            kind = "-l" if option.startswith("--") else "-s"
            lines.append(f"complete -c sk-tune -n {after} {kind} {flag}")
    return lines


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [o for action in parser._actions for o in action.option_strings]


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    return [str(c) for action in parser._actions for c in action.choices or ()]
