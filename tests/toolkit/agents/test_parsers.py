"""The parser matrix: vLLM's own parsers against the table that notebook 10 shows."""

import logging
from pathlib import Path

import pytest
import yaml

from helpers.profiles import QUIET_LOGGERS
from toolkit.agents import parser_matrix
from toolkit.agents.parsers import TEXTS, Parsed, Written, judge

EXPECTED = yaml.safe_load(Path(__file__).with_name("parser_matrix.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def matrix():
    return parser_matrix()


def test_each_edition_parser_and_mode_gives_what_the_committed_table_says(matrix):
    assert len(matrix) == len(TEXTS) * 2 * 3 * 2
    for row in matrix.itertuples():
        wanted = EXPECTED[row.edition][row.text][f"{row.reasoning} + {row.tools}"]
        if isinstance(wanted, dict):
            wanted = wanted["streamed" if row.streamed else "whole"]
        assert row.verdict == wanted, row


def test_one_combination_is_right_for_each_edition(matrix):
    right = matrix.groupby(["edition", "reasoning", "tools"])["verdict"].agg(lambda found: set(found) == {"right"})
    assert right[right].index.tolist() == [("Instruct", "none", "hermes"), ("Thinking", "qwen3", "hermes")]


def test_a_learner_reads_no_reports_of_what_a_cpu_lacks():
    loggers = [logging.getLogger(name) for name in QUIET_LOGGERS]
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
    parser_matrix(())
    assert [logger.level for logger in loggers] == [logging.ERROR] * len(loggers)


CALL = Written("Thinking", "call", "Hm.", None, (("zoom", {}),))
ANSWER = Written("Instruct", "answer", None, "A dog.")


@pytest.mark.parametrize(
    ("written", "parsed", "verdict"),
    [
        (ANSWER, Parsed(None, "\n\nA dog."), "right"),
        (ANSWER, Parsed("A dog.", None), "swallowed"),
        (ANSWER, Parsed(None, None), "lost"),
        (CALL, Parsed("Hm.\n", None, (("zoom", {}),)), "right"),
        (CALL, Parsed(None, "Hm.\n</think>", (("zoom", {}),)), "thoughts in the text"),
        (CALL, Parsed(None, None, (("zoom", {}),)), "lost"),
        (CALL, Parsed("Hm.", '<tool_call>{"name": "zoom"}'), "call in the text"),
        (CALL, Parsed('Hm. <tool_call>{"name": "zoom"}', None), "swallowed"),
        (CALL, Parsed("Hm.", None), "lost"),
        (CALL, Parsed("Hm.", None, (("zoom", {"x": 1}),)), "lost"),
    ],
)
def test_verdicts(written, parsed, verdict):
    assert judge(written, parsed) == verdict
