"""What a learner gets of a solution, and what `solution` shows of it."""

import json

import pytest

from toolkit.exercises.cards import solution_code
from toolkit.exercises.markers import for_learner, solved

WHOLE = '''\
import re  # SOLUTION NO PROMPT
answer = 42  # SOLUTION
first, second = 1, 2  # SOLUTION
print(answer == 42)  # SOLUTION


def half(value):
    """Half of it."""
    # BEGIN SOLUTION
    result = value / 2
    return result
    # END SOLUTION


# BEGIN SOLUTION
text = (
    "a = b"
)
# END SOLUTION
# BEGIN SOLUTION NO PROMPT
secret = 1
# END SOLUTION
# BEGIN SOLUTION
right = True
# END SOLUTION
""" # BEGIN PROMPT
right = 1 == 2
"""  # END PROMPT
check("1.1", answer)'''
BLANKED = '''\
answer = ...
first, second = ...
...


def half(value):
    """Half of it."""
    ...


text = ...
right = 1 == 2
check("1.1", answer)'''


def test_solutions_are_blanked_and_the_rest_stays():
    assert for_learner(WHOLE) == BLANKED
    assert for_learner(BLANKED) == BLANKED


@pytest.mark.parametrize("end", ['"""; # END PROMPT', '"""  # END PROMPT', '""" # END PROMPT'])
def test_a_prompt_ends_as_otter_writes_it_and_as_ruff_formats_it(end):
    assert for_learner(f'""" # BEGIN PROMPT\nx = 1\n{end}') == "x = 1"


@pytest.mark.parametrize(
    "source",
    ["# BEGIN SOLUTION\nx = 1", "# END SOLUTION", '""" # BEGIN PROMPT\nx', '"""  # END PROMPT'],
)
def test_half_a_block_is_refused(source):
    with pytest.raises(ValueError):
        for_learner(source)


def test_a_solution_is_shown_without_marks_and_prompts(tmp_path):
    shown = solved(WHOLE)
    assert "SOLUTION" not in shown and "PROMPT" not in shown and "1 == 2" not in shown
    assert "answer = 42\n" in shown and "    return result" in shown
    cells = [
        {"source": ["a = 1  # SOLUTION\n", "b = 2"], "metadata": {"exercise": "99.1"}},
        {"source": "c = 3", "metadata": {}},
        {"source": "d = 4", "metadata": {"exercise": "99.1"}},
    ]
    (tmp_path / "99.ipynb").write_text(json.dumps({"cells": cells}))
    assert solution_code("99.1", tmp_path) == "a = 1\nb = 2\n\nd = 4"
    assert solution_code("98.1", tmp_path) == ""
