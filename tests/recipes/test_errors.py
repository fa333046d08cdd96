"""User errors and the parts of their messages."""

import errno

from recipes.errors import UserError, nearest, unreadable


def test_each_problem_is_reported_once_and_in_order() -> None:
    error = UserError("b", "a", "b")
    assert error.problems == ("b", "a")
    assert str(error) == "b\na"


def test_nearest_suggests_similar_names_and_lists_all() -> None:
    assert nearest("mixpu", ["swa", "mixup"]) == "did you mean mixup? There are: mixup, swa."
    assert nearest("zzz", ["swa", "mixup"]) == "there are: mixup, swa."
    assert nearest("zzz", []) == "there are: none."


def test_nearest_compares_full_width_characters_as_half_width() -> None:
    assert nearest("text", ["ｔｅｘｔ", "评论"]) == "did you mean ｔｅｘｔ? There are: 评论, ｔｅｘｔ."
    assert nearest("类别:", ["类别：", "类别"]).startswith("did you mean 类别：? ")


def test_errors_of_the_operating_system_become_user_errors() -> None:
    remedy = "Correct that, or name another path."
    assert str(unreadable("x", OSError(errno.EACCES, "Permission denied"))) == f"x: Permission denied. {remedy}"
    assert str(unreadable("x", OSError("full"))) == f"x: full. {remedy}"


def test_a_name_with_characters_that_nobody_sees_is_shown_with_them() -> None:
    message = nearest("text", ["\ufefftext", "label"])
    assert message == (
        "did you mean '\\ufefftext'? There are: label, '\\ufefftext'. '\\ufefftext' has characters that no font shows; "
        "remove them in its source."
    )
