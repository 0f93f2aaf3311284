"""The course's command line: ``python -m helpers COMMAND``. Each command imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from helpers.errors import CourseError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Qwen3-VL on vLLM, hands on: everything around the notebooks.")  # fmt: skip
Profile = Annotated[str, typer.Option(help="a name of data/profiles.yaml, or auto")]


@app.command()
def env(json: Annotated[bool, typer.Option(help="print JSON instead of tables")] = False) -> int:
    """Check this machine: what is found, what is needed, what to do, and which profiles run here."""
    from helpers import environment

    return environment.command(json=json)


@app.command()
def download(
    profile: Profile = "auto",
    source: Annotated[str, typer.Option(help="huggingface or modelscope")] = "huggingface",
    folder: Annotated[Path | None, typer.Option(help="where to; default: data/models/<org>/<name>")] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit instead of the profile's")] = None,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="check sizes and hashes, fetch nothing")] = False,
) -> int:
    """Bring a profile's model onto this disk, resuming if need be, and verify it."""
    from helpers import download as module

    return module.command(profile=profile, source=source, folder=folder, revision=revision, verify_only=verify_only)


@app.command()
def hello(
    profile: Profile = "auto",
    image: Annotated[str | None, typer.Option(help="a picture of yours instead of a bundled one")] = None,
) -> int:
    """The shortest way to an answer: one picture, described in the terminal, with the seconds that each phase took."""
    from helpers import hello as module

    return module.command(profile=profile, image=image)


@app.command()
def serve(
    profile: Profile = "auto",
    port: Annotated[int | None, typer.Option(help="default: the first free one from 8085")] = None,
    host: Annotated[str, typer.Option(help="address to listen on; keep it local unless a key is set")] = "127.0.0.1",
    key: Annotated[str | None, typer.Option(help="API key that clients must send", envvar="COURSE_SERVER_KEY")] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="real size, random weights")] = False,
) -> int:
    """Serve a profile's model in the foreground until interrupted."""
    from helpers import server

    return server.command(profile=profile, port=port, host=host, key=key, rehearse=rehearse)


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Argument(help="numbers or names of notebooks; default: all")] = None,
    profile: Profile = "auto",
    output: Annotated[str, typer.Option(help="folder for executed notebooks and summary.html")] = "outputs",
    rehearse: Annotated[bool, typer.Option("--rehearse", help="real size, random weights")] = False,
    keep_going: Annotated[bool, typer.Option(help="go on after a notebook that failed")] = True,
) -> int:
    """Execute the course's notebooks and write a one-page summary."""
    from helpers import course

    return course.command(profile=profile, only=only, output=output, rehearse=rehearse, keep_going=keep_going)


@app.command()
def toyworld(
    kind: Annotated[str, typer.Option(help="scene or sentence")],
    count: Annotated[int, typer.Option(help="how many items")],
    out: Annotated[Path, typer.Option(help="folder for items.jsonl and media")],
    seed: Annotated[int, typer.Option(help="item i uses seed + i; samples and tests start at 11,000,000")] = 11_000_000,
) -> int:
    """Draw items of the toy world with their exact facts."""
    from tqdm import tqdm

    from helpers.toyworld.items import write_items

    for _ in tqdm(write_items(kind, count, seed, out), total=count, unit="item", disable=None):
        pass
    print(f"{count} items of kind {kind} in {out}, seeds {seed} to {seed + count - 1}")
    return 0


@app.command()
def train(
    minutes: Annotated[float, typer.Option(help="running time; 75 on one core made the bundled model")],
    out: Annotated[Path, typer.Option(help="folder for the model, its log and the state to resume from")],
    family: Annotated[str, typer.Option(help="architecture")] = "qwen3-vl",
    steps: Annotated[int | None, typer.Option(help="end after so many steps instead, whatever their time")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    seed: Annotated[int, typer.Option(help="of the first weights")] = 0,
    compile_blocks: Annotated[bool, typer.Option("--compile/--no-compile", help="torch.compile the blocks")] = False,
) -> int:
    """Train a tiny model of the real architecture from scratch on the toy world."""
    from helpers.tiny import train as module

    module.train(out, minutes, family=family, steps=steps, resume=resume, seed=seed, compile_blocks=compile_blocks)
    print(f"The model is in {out}; measure it with: python -m helpers evaluate-tiny --model {out}")
    return 0


@app.command()
def evaluate_tiny(
    model: Annotated[Path | None, typer.Option(help="folder of the model; default: the bundled one")] = None,
    count: Annotated[int, typer.Option(help="validation items per task")] = 300,
    out: Annotated[Path | None, typer.Option(help="write the table here as JSON, too")] = None,
) -> int:
    """Measure a tiny model through vLLM on validation items: scene facts, exact descriptions, questions, reversals."""
    from helpers.tiny import evaluate

    return evaluate.command(model=model, count=count, out=out)


def main() -> None:
    """Run a command; a `CourseError` is printed without a traceback and ends with status 1."""
    try:
        status = app(standalone_mode=False)
    except CourseError as error:
        print(error, file=sys.stderr)
        status = 1
    except typer.Exit as stop:
        status = stop.exit_code
    except typer.Abort:
        status = 130
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        if not hasattr(error, "exit_code"):  # click's usage errors carry one
            raise
        error.show()
        status = error.exit_code
    sys.exit(status or 0)


if __name__ == "__main__":
    main()
