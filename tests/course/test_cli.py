"""The command line as a whole: exit statuses, and the maintainers' commands."""

import errno
import sys

import pytest
import typer

from course import cli, committed_outputs, exercises, hello, readme_table


def status_of(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["course", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "Commands:"),
        (["nosuch"], 2, "nosuch"),
        (["readme"], 2, "Missing option"),
        (["execute"], 2, "Missing argument"),
        (["execute", "99"], 1, "There is no notebook '99'."),
        (["run", "99"], 1, "What to do: use one of: "),
    ],
)
def test_mistakes_end_with_a_message_and_a_status(monkeypatch, capsys, words, status, said):
    assert status_of(monkeypatch, *words) == status
    told = capsys.readouterr()
    assert said in told.out + told.err
    assert "Traceback" not in told.err


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("course.hello.describe_image", interrupted)
    assert status_of(monkeypatch, "hello") == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize(
    ("current", "option", "status"), [(True, "--check", 0), (False, "--check", 1), (False, "--write", 0)]
)
def test_a_stale_table_is_refused_or_updated(monkeypatch, capsys, current, option, status):
    asked = []
    monkeypatch.setattr(readme_table, "update_readme", lambda *, write: asked.append(write) or current)
    assert status_of(monkeypatch, "readme", option) == status
    assert asked == [option == "--write"]
    assert ("stale" in capsys.readouterr().out) == (status == 1)


def test_execute_takes_several_notebooks_and_one_failure_decides(monkeypatch):
    done = []
    monkeypatch.setattr(
        committed_outputs, "execute_in_place", lambda entry, folder: done.append(entry.number) or int(entry.number == 0)
    )
    assert status_of(monkeypatch, "execute", "00", "1") == 1
    assert done == [0, 1]


def test_execute_takes_the_solutions_of_chapters(monkeypatch):
    done = []
    monkeypatch.setattr(committed_outputs, "execute_in_place", lambda *given: done.append(given) or 0)
    assert status_of(monkeypatch, "execute", "--solutions", "08b") == 0
    ((entry, folder),) = done
    assert (folder.name, entry.file) == ("solutions", "08b.ipynb")


@pytest.mark.parametrize(
    ("stale", "options", "status"), [([], ["--check"], 0), (["02.ipynb"], ["--check"], 1), (["02.ipynb"], [], 0)]
)
def test_stale_exercises_are_refused_or_made_anew(monkeypatch, capsys, stale, options, status):
    asked = []
    monkeypatch.setattr(exercises, "update_exercises", lambda *, write: asked.append(write) or stale)
    assert status_of(monkeypatch, "exercises", *options) == status
    assert asked == [not options]
    assert ("notebooks/exercises/02.ipynb" in capsys.readouterr().out) == bool(stale)


def every_command(command, words=()):
    """All commands as words, groups included."""
    yield list(words)
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*words, name))


COMMANDS = [words for words in every_command(typer.main.get_command(cli.app)) if words != ["bench"]]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "course")
def test_help_cuts_no_summary_and_names_what_each_option_takes(monkeypatch, capsys, words):
    monkeypatch.setenv("COLUMNS", "80")
    assert status_of(monkeypatch, *words, "--help") == 0
    said = capsys.readouterr().out
    assert "..." not in said.partition("Commands:")[2] and "<str>" not in said


def test_an_option_names_what_it_takes_and_an_argument_itself(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert status_of(monkeypatch, "preflight", "--help") == 0
    said = capsys.readouterr().out
    assert "--key KEY" in said and "  URL  the server" in said


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written_is_one_message(monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, "no", "/shared/course/x.log")

    monkeypatch.setattr(hello, "describe_image", refuse)
    assert status_of(monkeypatch, "hello") == 1
    said = capsys.readouterr().err
    assert "/shared/course/x.log" in said and "COURSE_OUTPUTS" in said


def test_other_errors_of_the_system_are_not_explained_away(monkeypatch):
    def fail(*_):
        raise FileNotFoundError(errno.ENOENT, "no", "x")

    monkeypatch.setattr(hello, "describe_image", fail)
    monkeypatch.setattr(sys, "argv", ["course", "hello"])
    with pytest.raises(FileNotFoundError):
        cli.main()
