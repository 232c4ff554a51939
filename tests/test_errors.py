from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

import thumbprint
from thumbprint import errors

EVERY_ERROR = [getattr(errors, name) for name in errors.__all__]


def drawn_tree():
    """Yield (name, parent's name, other base or None) of each line of the tree in the docstring."""
    above = {}
    for line in errors.__doc__.splitlines():
        drawn = re.match(r"    (?P<branch>[│├└─ ]*)(?P<name>\w+Error)\b(?: \(also (?P<also>\w+)\))?", line)
        if drawn:
            depth = len(drawn["branch"]) // 4
            above[depth] = drawn["name"]
            yield drawn["name"], above.get(depth - 1), drawn["also"]


def test_every_error_stands_in_the_tree_that_the_docstring_draws():
    assert sorted(name for name, _, _ in drawn_tree()) == errors.__all__


@pytest.mark.parametrize(("name", "parent", "also"), list(drawn_tree()))
def test_the_drawn_tree_is_the_real_one(name, parent, also):
    bases = [base.__name__ for base in getattr(errors, name).__bases__]
    assert bases == [parent or "Exception", *([also] if also else [])]


def test_the_docstrings_columns_are_aligned():
    columns = {line.rindex("   ") for line in errors.__doc__.splitlines() if "Error" in line and "   " in line.strip()}
    assert len(columns) == 1


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_is_importable_from_the_package_and_shares_its_root(error):
    assert getattr(thumbprint, error.__name__) is error
    assert error.__name__ in thumbprint.__all__
    assert issubclass(error, thumbprint.ThumbprintError)


def test_every_error_class_of_the_module_is_public():
    defined = [name for name, found in vars(errors).items() if inspect.isclass(found)]
    assert sorted(defined) == errors.__all__


@pytest.mark.parametrize("error", [errors.ArgumentValueError, errors.ArgumentTypeError])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_argument_error_keeps_its_argument_in_copies_and_pickles(error, copied):
    again = copied(error("score=2: it must be from 0 to 1", argument="score"))
    assert type(again) is error
    assert again.argument == "score"
    assert str(again) == "score=2: it must be from 0 to 1"


def test_a_missing_credential_names_its_variable_in_copies_and_pickles():
    again = pickle.loads(pickle.dumps(errors.MissingCredentialsError("set it", variable="BRAINTRUST_API_KEY")))
    assert again.variable == "BRAINTRUST_API_KEY"
    assert str(again) == "set it"
