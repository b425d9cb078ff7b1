"""A user's mistake is one line on stderr and exit code 2; anything else is a traceback."""

import pytest

from jaxgan.errors import UserError, choose, exit_code, warn


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize("table", [["a", "bc"], {"a": 1, "bc": 2}, ("bc", "a")])
def test_choose_gives_back_what_is_there(table):
    assert [choose("thing", name, table) for name in table] == list(table)


def test_choose_names_the_nearest_and_all():
    with pytest.raises(UserError) as raised:
        choose("loss", "hing", {"wasserstein": 1, "hinge": 2})
    assert str(raised.value) == "unknown loss 'hing': did you mean hinge? choose from hinge, wasserstein"


def test_choose_does_not_guess_wildly():
    with pytest.raises(UserError) as raised:
        choose("loss", "xyz", ["hinge", "wasserstein"])
    assert str(raised.value) == "unknown loss 'xyz': choose from hinge, wasserstein"


def test_choose_lists_many_names_only_where_they_are_near():
    table = [f"setting_{index:02d}" for index in range(30)]
    with pytest.raises(
        UserError, match=r"^unknown setting 'setting_7': did you mean (setting_\d\d or ){2}setting_\d\d\?$"
    ):
        choose("setting", "setting_7", table)
    with pytest.raises(UserError, match=r"^unknown setting 'xyz': none of the 30 is near it$"):
        choose("setting", "xyz", table)


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (130, 130)])
def test_a_program_s_own_exit_code(result, code, capsys):
    assert exit_code(lambda: result) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("config.steps=0 must be at least 1"), "error: config.steps=0 must be at least 1\n"),
        (UserError("two\n  lines"), "error: two lines\n"),
        (PermissionError(13, "Permission denied", "runs/x"), "error: runs/x: Permission denied\n"),
        (OSError(28, "No space left on device"), "error: the file system: No space left on device\n"),
        (OSError("broken"), "error: the file system: broken\n"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(error, line, capsys):
    assert exit_code(raising(error)) == 2
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug")])
def test_a_bug_is_not_hidden(error):
    with pytest.raises(type(error)):
        exit_code(raising(error))


def test_ctrl_c_is_no_traceback(capsys):
    assert exit_code(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "interrupted: the same command starts again\n")


def test_a_warning_is_one_line_on_stderr(capsys):
    warn("passed\nover")
    assert capsys.readouterr() == ("", "warning: passed over\n")
