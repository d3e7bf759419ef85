"""The README's Python: code blocks and calls in its prose, in their order."""

import doctest
import re
from contextlib import suppress
from pathlib import Path

import sk_tune

README = Path(__file__).parents[2] / "README.md"
# A block of Python, or a call in the prose.
_CODE = re.compile(r"```(?P<kind>\w*)\n(?P<block>.*?)```|`(?P<call>[^`\n]+)`", re.DOTALL)


def _calls(text):
    """Return an inline code as a statement, or "" if it is not a call of Python."""
    with suppress(SyntaxError):
        statement = f"{text} pass" if text.startswith("with ") else text
        compile(statement, "README.md", "exec")
        return statement if "(" in text else ""
    return ""


def test_every_line_of_python_runs_in_its_order(tmp_path, monkeypatch, capsys):
    """Examples print the documented output; later ones use earlier names."""
    monkeypatch.chdir(tmp_path)
    names = {"sk_tune": sk_tune, **{n: getattr(sk_tune, n) for n in sk_tune.__all__}}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    n_blocks, calls = 0, []
    for code in _CODE.finditer(README.read_text(encoding="utf-8")):
        statement = _calls(code["call"] or "")
        if code["kind"] == "python":
            test = parser.get_doctest(code["block"], names, "README.md", None, 0)
            outcome = runner.run(test, clear_globs=False)
            assert outcome.attempted
            assert not outcome.failed, capsys.readouterr().out
            names, n_blocks = test.globs, n_blocks + 1
        elif statement:
            exec(statement, names)
            calls.append(statement)

    assert n_blocks == 4
    assert "with fleet(): pass" in calls
    assert (tmp_path / "report.html").is_file()
