"""Whether the installed vLLM still takes what a launch says: its own parser reads the flags, its own list has the
variables. No engine starts, and no model is looked for.

``python -m toolkit.planner.flags`` checks all recipes of ``data/recipes.yaml``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from toolkit.planner.recipes import Launch, foreign_variables, load_recipes

#: The parser's modules import torch and half of vLLM: 15 to 40 s.
SECONDS = 300


def check_launches(launches: Mapping[str, Launch]) -> dict[str, list[str]]:
    """What vLLM would refuse of each launch, one sentence each.

    Asked in a process of its own, except where vLLM is imported already: that saves the seconds of another import.

    Raises:
        CourseError: vLLM cannot be asked; the last line of its error is the cause.
    """
    questions = {name: {"words": launch.command()[2:], "environment": {**launch.environment}}
                 for name, launch in launches.items()}  # fmt: skip
    order = {"launches": questions, "foreign": sorted(foreign_variables())}
    if "vllm" in sys.modules:
        return _answer(order)
    command = [sys.executable, "-m", "toolkit.planner.flags", "--questions"]
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=COURSE_ROOT,
            env=environment,
        )
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise CourseError(f"vLLM's parser did not answer within {SECONDS} s.", "a busy machine", "try again") from None
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise CourseError(
            "vLLM's parser cannot be asked.", last, "python -m course env shows what is installed"
        ) from None


def parser_problems(parser: Any, words: Sequence[str]) -> list[str]:
    """What a parser says against the arguments of ``vllm serve``; [] if it takes them.

    Args:
        parser: from `serve_parser`.
        words: the arguments after ``vllm serve``.
    """
    try:
        parser.parse_args(list(words))
    except ValueError as error:
        return [str(error)]
    return []


def serve_parser() -> Any:
    """The parser of ``vllm serve``; names must be whole, and a mistake raises ValueError, not SystemExit."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser(allow_abbrev=False))
    parser.error = _refuse
    return parser


def variable_problems(environment: Mapping[str, str], foreign: Sequence[str]) -> list[str]:
    """Variables that nobody is known to read, and values that vLLM cannot read.

    Args:
        environment: names and values.
        foreign: names that other programs read.
    """
    import vllm.envs

    problems = []
    for name, value in environment.items():
        read = vllm.envs.environment_variables.get(name)
        if read is None and name not in foreign:
            problems.append(f"{name} is no variable of vLLM's, nor declared as another program's")
        elif read is not None:
            before = os.environ.get(name)
            os.environ[name] = value
            try:
                read()
            except (ValueError, TypeError) as error:
                problems.append(f"{name}={value}: {error}")
            finally:
                if before is None:
                    del os.environ[name]
                else:
                    os.environ[name] = before
    return problems


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _answer(order: dict[str, Any]) -> dict[str, list[str]]:
    parser = serve_parser()
    return {
        name: parser_problems(parser, one["words"]) + variable_problems(one["environment"], order["foreign"])
        for name, one in order["launches"].items()
    }


def main() -> int:
    """Check all recipes; 1 if any would be refused."""
    if sys.argv[1:] == ["--questions"]:
        printed, sys.stdout = sys.stdout, sys.stderr  # libraries may print while they are imported
        json.dump(_answer(json.load(sys.stdin)), printed)
        return 0
    found = check_launches({name: recipe.launch() for name, recipe in load_recipes().items()})
    for name, problems in found.items():
        print(f"{name}: {'; '.join(problems) or 'accepted'}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
