"""Whether the installed vLLM still takes what a launch says: its own parser reads the flags, its own list has the
variables. No engine starts, and no model is looked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, NoReturn

from helpers.errors import CourseError
from helpers.processes import run_to_end
from toolkit.planner.recipes import Launch, foreign_variables, load_recipes

#: The parser's modules import torch and half of vLLM: 15 to 40 s.
SECONDS = 300


def check_launches(launches: Mapping[str, Launch] | None = None) -> dict[str, list[str]]:
    """What vLLM would refuse of each launch, one sentence each; of every recipe's where none are given.

    Asked in a process of its own, except where vLLM is imported already: that saves the seconds of another import.

    Raises:
        CourseError: vLLM cannot be asked; the last line of its error is the cause.
    """
    if launches is None:
        launches = {name: recipe.launch() for name, recipe in load_recipes().items()}
    questions = {name: [launch.command()[2:], {**launch.environment}] for name, launch in launches.items()}
    if "vllm" in sys.modules:
        return _answers(questions)
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "toolkit.planner.flags"]
    ended = run_to_end(command, environment, SECONDS, text=json.dumps(questions), errors_apart=True)
    if ended.status is None:
        raise CourseError(f"vLLM's parser did not answer within {SECONDS} s.", "a busy machine", "try again")
    try:
        return json.loads(ended.output)
    except ValueError:
        last = (ended.errors.strip().splitlines() or ["no output"])[-1]
        raise CourseError("vLLM's parser cannot be asked.", last, "course env shows what is installed") from None


def serve_parser() -> Any:
    """The parser of ``vllm serve``; names must be whole, and a mistake raises ValueError, not SystemExit."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser(allow_abbrev=False))
    parser.error = _refuse
    return parser


def parser_problems(parser: Any, words: Sequence[str]) -> list[str]:
    """What the parser of `serve_parser` says against the arguments of ``vllm serve``; [] if it takes them."""
    try:
        parser.parse_args(list(words))
    except ValueError as error:
        return [str(error)]
    return []


def variable_problems(environment: Mapping[str, str], foreign: Sequence[str]) -> list[str]:
    """Variables that nobody is known to read, and values that vLLM cannot read; ``foreign`` names are others'."""
    import vllm.envs

    problems, before = [], dict(os.environ)
    for name, value in environment.items():
        read = vllm.envs.environment_variables.get(name)
        if read is None and name not in foreign:
            problems.append(f"{name} is no variable of vLLM's, nor declared as another program's")
        elif read is not None:
            os.environ[name] = value
            try:
                read()
            except (ValueError, TypeError) as error:
                problems.append(f"{name}={value}: {error}")
            finally:
                os.environ.pop(name)
                os.environ.update({name: before[name]} if name in before else {})
    return problems


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _answers(questions: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    parser, foreign = serve_parser(), sorted(foreign_variables())
    return {
        name: parser_problems(parser, words) + variable_problems(environment, foreign)
        for name, (words, environment) in questions.items()
    }


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # libraries may print while they are imported
        answers = _answers(json.load(sys.stdin))
    print(json.dumps(answers))
