"""C code that is compiled where there is a compiler, and missed nowhere else."""

import shutil
import subprocess

import pytest

from sk_tune.engine.fleet import _kernel

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a compiler"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that code is kept in; nothing is there."""
    monkeypatch.delenv(_kernel.VARIABLE, raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sk_tune"


def _load():
    return _kernel._library.__wrapped__()


@needs_compiler
def test_code_is_compiled_once_and_kept_for_the_user_alone(cache, monkeypatch):
    """Another process finds it; nobody else may write into its folder."""
    first = _load()
    monkeypatch.setattr(subprocess, "run", None)
    second = _load()

    assert hasattr(first, "sk_tune_run")
    assert hasattr(second, "sk_tune_run")
    assert len(list(cache.iterdir())) == 1
    assert cache.stat().st_mode & 0o077 == 0


@needs_compiler
def test_processors_do_not_share_code(cache, monkeypatch):
    """A home folder may be that of many machines."""
    _load()
    monkeypatch.setattr(_kernel, "_processor", lambda: b"another")
    _load()

    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("compiler", ["/no/such/compiler", "false"])
def test_without_a_compiler_that_works_there_is_no_code(compiler, cache, monkeypatch):
    """Nothing is left behind by what failed."""
    monkeypatch.setenv("CC", compiler)

    assert _load() is None
    assert list(cache.iterdir()) == []


def test_without_any_compiler_there_is_no_code(cache, monkeypatch):
    """Nothing is made, not even a folder."""
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert _load() is None
    assert not cache.exists()


@needs_compiler
def test_a_compiler_that_knows_no_processor_compiles_for_any(cache, monkeypatch):
    """Where the option for the processor at hand is refused, it is left out."""
    monkeypatch.setattr(_kernel, "_FOR_THIS_PROCESSOR", "-march=of-nobody")

    assert hasattr(_load(), "sk_tune_run")


def test_where_nothing_can_be_kept_there_is_no_code(tmp_path, monkeypatch):
    """A file lies where the folder should be."""
    path = tmp_path / "file"
    path.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))

    assert _load() is None


@needs_compiler
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_file_that_is_not_whole_is_made_anew(share, cache):
    """As after a disk that was full; the system would end the process that loads it."""
    _kernel._compile(_kernel._compiler(), _kernel._cache_folder(), "name")
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    assert _kernel._kept(cache, "name") is None
    assert list(cache.iterdir()) == []
    assert _kernel._compile(_kernel._compiler(), cache, "name") == path
    assert _kernel._kept(cache, "name") == path


@pytest.mark.parametrize("compiler", ["gcc '", " "])
def test_a_command_that_is_none_is_not_run(compiler, cache, monkeypatch):
    """Nothing is raised, for torch can do the same."""
    monkeypatch.setenv("CC", compiler)

    assert _load() is None


@needs_compiler
def test_code_of_another_library_is_not_used(cache, monkeypatch):
    """It has no such function."""
    monkeypatch.setattr(_kernel, "_digest", lambda compiler: "name")
    cache.mkdir()
    source = cache / "other.c"
    source.write_text("int other(void) { return 0; }")
    made = cache / "other.so"
    subprocess.run(
        [*_kernel._compiler(), "-shared", "-fPIC", str(source), "-o", str(made)],
        check=True,
    )
    made.rename(cache / f"epoch-name-{_kernel._hash(made.read_bytes())}.so")

    assert _load() is None


def test_a_folder_that_others_may_write_to_is_not_used(cache):
    """Their code would be run as the user."""
    cache.mkdir()
    cache.chmod(0o770)

    assert _load() is None
    assert list(cache.iterdir()) == []


@needs_compiler
def test_the_command_of_the_environment_may_have_options(cache, monkeypatch):
    """As CC has where one compiler serves several machines."""
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    monkeypatch.setenv("CC", f"{found} -g0")

    assert hasattr(_load(), "sk_tune_run")


@pytest.mark.parametrize(("returncode", "has_code"), [(0, True), (2, False)])
@needs_compiler
def test_macos_is_not_asked_to_install_a_compiler(returncode, has_code, cache, monkeypatch):
    """What is called cc there offers to, where there is none."""
    run = subprocess.run

    def answered(command, **options):
        if command[0].endswith("xcode-select"):
            return subprocess.CompletedProcess(command, returncode)
        return run(command, **options)

    monkeypatch.setattr(_kernel.sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", answered)

    assert (_load() is not None) is has_code


def test_who_does_not_want_code_gets_none(monkeypatch):
    """The environment says so, at any time."""
    monkeypatch.setenv(_kernel.VARIABLE, "0")

    assert _kernel.compiled_library() is None


@pytest.mark.parametrize("why", ["SK_TUNE_COMPILE=0", "no compiler was found", "chmod 700"])
def test_why_there_is_no_code_is_told_once(why, cache, monkeypatch, caplog):
    """At level INFO of a logger: not wanted, no compiler, or others may write there."""
    _kernel._tell.cache_clear()
    _kernel._library.cache_clear()
    if "=0" in why:
        monkeypatch.setenv(_kernel.VARIABLE, "0")
    elif "no compiler" in why:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    else:
        cache.mkdir()
        cache.chmod(0o777)

    with caplog.at_level("INFO", logger="sk_tune"):
        found = [_kernel.compiled_library() for _ in range(3)]
    _kernel._library.cache_clear()

    assert found == [None] * 3
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert why in record.getMessage()
