"""The command line, ``course`` or ``python -m course``. Each command imports what it needs when it runs."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from course.cli_maintainers import execute, exercises, gpu_check, site
from course.cli_teachers import preflight, seats, workshop
from helpers.errors import CourseError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Qwen3-VL on vLLM, hands on: everything around the notebooks.")  # fmt: skip
evaluate = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(evaluate, name="evaluate", help="Ask a model about many items, each attempt recorded.")
#: What is not an option of ours goes to the program that the command starts.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command("gpu-check")(gpu_check)
for elsewhere in (site, execute, exercises, workshop, preflight, seats):
    app.command()(elsewhere)
Profile = Annotated[str, typer.Option(help="a name in data/profiles.yaml, or auto")]
Rehearse = Annotated[bool, typer.Option("--rehearse", help="real size, random weights")]
Items = Annotated[Path, typer.Option(help="folder with items.jsonl and the media that it names")]


@app.command()
def env(json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False) -> int:
    """Check this machine; say what is missing and what to do."""
    from course.machine_report import report_machine

    return report_machine(json)


@app.command()
def download(
    profile: Profile = "auto",
    source: Annotated[Literal["huggingface", "modelscope"], typer.Option(help="the hub")] = "huggingface",
    folder: Annotated[Path | None, typer.Option(help="destination; default: data/models/<org>/<name>")] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit instead of the profile's")] = None,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="only check sizes and hashes")] = False,
) -> int:
    """Download a profile's model and verify it; resumes."""
    from helpers.download import download_profile

    download_profile(profile, source, folder, revision, verify_only)
    return 0


@app.command()
def hello(
    profile: Profile = "auto",
    image: Annotated[str | None, typer.Option(help="your own image instead of a bundled one")] = None,
    question: Annotated[str | None, typer.Option(help="default: a description")] = None,
) -> int:
    """Describe one image, with the seconds of each phase."""
    from course.hello import describe_image

    return describe_image(profile, image, question)


@app.command()
def serve(
    profile: Profile = "auto",
    port: Annotated[int | None, typer.Option(help="default: the first free port from 8085")] = None,
    host: Annotated[str, typer.Option(help="address to listen on; keep it local unless you set a key")] = "127.0.0.1",
    key: Annotated[str | None, typer.Option(help="API key that clients must send", envvar="COURSE_SERVER_KEY")] = None,
    rehearse: Rehearse = False,
) -> int:
    """Serve a profile's model until interrupted."""
    from course.serving import serve_until_interrupted
    from helpers.server import Address

    return serve_until_interrupted(profile, Address(host, port), key, rehearse)


@app.command(context_settings=PASSED_ON)
def lab(
    context: typer.Context,
    originals: Annotated[bool, typer.Option("--originals", help="maintainers: open the originals")] = False,
) -> None:
    """Open the notebooks in JupyterLab, as copies of your own.

    They lie in my-course. What you changed is never replaced: a newer version is laid beside it. Other options are
    passed to JupyterLab: --no-browser, --port 8888.
    """
    from course.lab import open_lab

    open_lab(context.args, originals=originals)


@app.command()
def servers(stop: Annotated[bool, typer.Option("--stop", help="stop all of them")] = False) -> int:
    """List your servers that the course started, or stop them."""
    from course.serving import list_servers

    return list_servers(stop)


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Argument(help="numbers or names; 6: 06 and 06b; default: all")] = None,
    profile: Profile = "auto",
    output: Annotated[Path | None, typer.Option(help="folder for the results; default: outputs")] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="in miniature, random weights")] = False,
    keep_going: Annotated[bool, typer.Option(help="go on after a notebook that failed")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="notebooks at a time; default: 2 if two fit")] = None,
    where_time_goes: Annotated[bool, typer.Option("--where-time-goes", help="only of the last run")] = False,
) -> int:
    """Execute the notebooks; write results and a summary."""
    from helpers.files import OUTPUTS

    if where_time_goes:
        from course import phases

        return phases.print_phases(output or OUTPUTS)
    from course.run_command import run_course

    return run_course(profile, only, output or OUTPUTS, rehearse, keep_going, jobs)


@app.command()
def readme(
    write: Annotated[bool, typer.Option("--write/--check", help="update it, or end with status 1 if it is stale")],
) -> int:
    """Maintainers: the tables and the map of the course."""
    from course.readme_table import update_readme

    current = update_readme(write=write)
    if not current:
        print("updated" if write else "The table in README.md or the map is stale. What to do: course readme --write")
    return int(not (current or write))


@app.command("lint")
def run_lint() -> int:
    """Maintainers: check style, format, imports and types."""
    from course.lint import lint

    return lint()


@app.command()
def toyworld(
    kind: Annotated[str, typer.Option(help="scene, receipt, clip, sentence, foreign, page or window")],
    count: Annotated[int, typer.Option(help="how many items")],
    out: Annotated[Path, typer.Option(help="folder for items.jsonl and media")],
    seed: Annotated[int, typer.Option(help="item i uses seed + i; samples and tests start at 11,000,000")] = 11_000_000,
    difficulty: Annotated[int, typer.Option(help="1 (easy), 2 or 3 (the whole world)")] = 3,
    frames: Annotated[bool, typer.Option("--frames", help="also write each clip's frames as PNG")] = False,
) -> int:
    """Draw items of the toy world with their exact facts."""
    from tqdm import tqdm

    from toolkit.toyworld.items import write_items

    for _ in tqdm(write_items(kind, count, seed, out, difficulty, frames), total=count, unit="item", disable=None):
        pass
    print(f"{count} items of kind {kind} in {out}, seeds {seed} to {seed + count - 1}")
    return 0


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder for the model, its log and the state to resume from")],
    family: Annotated[Literal["qwen3-vl", "qwen2-vl"] | None, typer.Option(help="default: qwen3-vl")] = None,
    preset: Annotated[str | None, typer.Option(help="a recipe of data/training.yaml; default: cpu")] = None,
    minutes: Annotated[float | None, typer.Option(help="stop after this much running time")] = None,
    steps: Annotated[int | None, typer.Option(help="stop after this many steps, the same on every machine")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out, as it was started")] = False,
    seed: Annotated[int | None, typer.Option(help="seed of the initial weights; default: 0")] = None,
    start_from: Annotated[Path | None, typer.Option(help="folder of a tiny model to start from")] = None,
) -> int:
    """Train a tiny model from scratch on the toy world.

    Its architecture is the real one. Without --minutes or --steps, the preset says how long. Under torchrun, each
    process takes its own batches.
    """
    from toolkit.tiny_model.trainer import train as run_training
    from toolkit.tiny_model.training_run import TrainingRun

    run = TrainingRun(out, preset, family, minutes, steps, seed, start_from)
    done = run_training(run, resume=resume)
    if done:  # empty in all but the first process of torchrun
        print(f"The model is in {out}; measure it with: course evaluate-tiny --model {out}")
    return 0


@app.command()
def evaluate_tiny(
    model: Annotated[Path | None, typer.Option(help="folder of the model; default: the bundled one")] = None,
    count: Annotated[int, typer.Option(help="held-out items per task; 0: no task")] = 500,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, written after each task; the same command resumes where it stopped")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="some of the tasks, separated by commas; default: all")] = None,
    agreement: Annotated[int, typer.Option(help="compare this many answers with transformers, token by token")] = 0,
    card: Annotated[
        Path | None,
        typer.Option(help="write README.md into this model's folder; without --model, from its evaluation.json"),
    ] = None,
) -> int:
    """Measure a tiny model, and write its model card.

    It answers held-out items of every task, through vLLM.
    """
    from toolkit.tiny_model import cli as module

    return module.main(model=model, count=count, out=out, tasks=tasks, agreement=agreement, card=card)


@app.command()
def plan(
    gpu: Annotated[str, typer.Option(help="a card of data/gpus.yaml, '24 GiB', or auto: this machine's")] = "auto",
    memory: Annotated[float | None, typer.Option(help="GiB of one card, as a program on it sees them")] = None,
    count: Annotated[int | None, typer.Option(help="number of cards; default: 1, or all cards of this machine")] = None,
    model: Annotated[str, typer.Option(help="2b, 4b, 8b, 30b-a3b, 32b, 235b, -thinking, -fp8, or a hub id")] = "4b",
    context: Annotated[int | None, typer.Option(help="longest prompt including its answer, in tokens")] = None,
    images: Annotated[int | None, typer.Option(help="images per prompt")] = None,
    video: Annotated[Literal["yes", "no"] | None, typer.Option(help="videos in prompts")] = None,
    users: Annotated[int | None, typer.Option(help="simultaneous requests")] = None,
    tools: Annotated[bool, typer.Option("--tools", help="requests bring tools: set the parser of their calls")] = False,
    adapters: Annotated[int, typer.Option(help="LoRA adapters that one batch may use")] = 0,
    lora_rank: Annotated[int, typer.Option(help="the largest rank among them")] = 16,
    lora_tower: Annotated[bool, typer.Option("--lora-tower", help="they adapt the vision tower, too")] = False,
    weights: Annotated[Literal["bf16", "fp8", "awq"] | None, typer.Option(help="default: what suits")] = None,
    utilization: Annotated[float, typer.Option(help="share of a card's memory that vLLM may take")] = 0.92,
    kv_cache_dtype: Annotated[
        Literal["bfloat16", "float16", "fp8"] | None, typer.Option(help="of the KV cache")
    ] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="requests decoded at the same time")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="tokens of one step")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="limit of an image after resizing")] = None,
    eager: Annotated[bool, typer.Option("--eager", help="no CUDA graphs")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> int:
    """Say whether a model fits some cards, and what starts it.

    Prints the command, docker run, Compose and Kubernetes manifests. Exits with status 1 if it does not fit.
    """
    from toolkit.planner import EngineSettings, LoraSlots, Workload
    from toolkit.planner import cli as module

    asked = video and video == "yes"
    workload = Workload(context, images, None, asked, users, tools, LoraSlots(adapters, lora_rank, lora_tower))
    engine = EngineSettings(kv_cache_dtype, utilization, max_num_seqs, max_pixels, max_num_batched_tokens, eager)
    return module.main(module.card(gpu, memory), count, model, workload, weights, json, engine)


@app.command(context_settings=PASSED_ON | {"help_option_names": []}, add_help_option=False)
def bench(context: typer.Context) -> int:
    """Measure speed; bench --help lists the parts.

    This process becomes ``python -m benchmarks``, so its exit status and the signals it receives are that one's.
    """
    import os

    from helpers.files import COURSE_ROOT, search_path

    os.chdir(COURSE_ROOT)
    words = [sys.executable, "-m", "benchmarks", *context.args]
    environment = os.environ | {"PYTHONPATH": search_path(os.environ)}
    os.execve(sys.executable, words, environment)  # noqa: S606 - the arguments are the user's own


@app.command()
def batch(
    items: Annotated[Path, typer.Option(help="folder with items.jsonl, or only with images")],
    out: Annotated[Path, typer.Option(help="folder for the Parquet parts; the same command resumes with what is left")],
    profile: Profile = "auto",
    actors: Annotated[int, typer.Option(help="engines at a time, each with its own CPU or GPU")] = 1,
    batch_size: Annotated[int, typer.Option(help="images that an engine gets at a time, and rows per part")] = 32,
    question: Annotated[str, typer.Option(help="asked if there is no items.jsonl")] = "Describe this image.",
    limit: Annotated[int | None, typer.Option(help="only the first so many items")] = None,
    again: Annotated[bool, typer.Option("--again", help="retry what failed before")] = False,
) -> int:
    """Describe a folder of images offline, into Parquet.

    Ray Data feeds vLLM's engines.
    """
    from toolkit.batch import run as module

    return module.main(items, out, profile, module.BatchOptions(actors, batch_size, question, limit, again))


@evaluate.command("run")
def evaluate_run(
    items: Items,
    out: Annotated[Path, typer.Option(help="file of transcripts, one JSON line per attempt; only ever appended to")],
    profile: Profile = "auto",
    concurrency: Annotated[int, typer.Option(min=1, help="simultaneous requests")] = 8,
    run: Annotated[str | None, typer.Option(help="name of the run; default: from model and sampling fields")] = None,
    url: Annotated[
        str | None, typer.Option(help="address of a running endpoint; default: start the profile's server")
    ] = None,
    key: Annotated[str | None, typer.Option(help="API key of the endpoint", envvar="COURSE_SERVER_KEY")] = None,
    model: Annotated[str | None, typer.Option(help="the model's name at --url; default: the profile's")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="attempts per item, if another may succeed")] = 5,
    timeout: Annotated[float, typer.Option(help="seconds per attempt")] = 600.0,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many items; default: all")] = None,
    rehearse: Rehearse = False,
    sampling: Annotated[
        Literal["profile", "vendor"], typer.Option(help="the profile's, or what the model's vendor recommends")
    ] = "profile",
    revision: Annotated[
        str | None, typer.Option(help="revision of the weights at --url; without, another address is another run")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="longest answer, reasoning included")] = None,
) -> int:
    """Ask a profile's model about a folder's items.

    The same command resumes where it stopped, and retries failures. Exits with status 1 if an item has no answer,
    with 130 if it was interrupted.
    """
    from toolkit.evaluation.inference import profile_run
    from toolkit.evaluation.inference.client import RequestPolicy

    options = profile_run.RunOptions(
        profile=profile, items=items, out=out, url=url, key=key, model=model, revision=revision, run=run, limit=limit,
        policy=RequestPolicy(concurrency, attempts, timeout), rehearse=rehearse, sampling=sampling,
        max_tokens=max_tokens,
    )  # fmt: skip
    return profile_run.main(options)


@evaluate.command("judge")
def evaluate_judge(
    items: Items,
    transcripts: Annotated[Path, typer.Option(help="file that holds both runs")],
    first: Annotated[str, typer.Option(help="name of one run")],
    second: Annotated[str, typer.Option(help="name of the other run")],
    judge: Annotated[
        Literal["rules", "length"] | None,
        typer.Option(help="a judge that needs no model; default: rules, or the model at --url"),
    ] = None,
    url: Annotated[str | None, typer.Option(help="address of the judging model's endpoint")] = None,
    model: Annotated[str | None, typer.Option(help="the judging model's name at --url")] = None,
    key: Annotated[str | None, typer.Option(help="API key of --url", envvar="COURSE_JUDGE_KEY")] = None,
    revision: Annotated[str | None, typer.Option(help="revision of the judging model, as of evaluate run")] = None,
    out: Annotated[
        Path | None, typer.Option(help="file of the model's replies, only appended to; default: outputs/judge.jsonl")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="simultaneous calls")] = 8,
    image: Annotated[bool, typer.Option("--image", help="show the judge what the models saw")] = False,
    facts: Annotated[bool, typer.Option(help="tell the judge the items' facts")] = True,
    longest_reason: Annotated[
        int | None, typer.Option(min=1, help="characters; only for servers that can enforce it (vLLM)")
    ] = None,
    known: Annotated[Path | None, typer.Option(help="scenes to validate the judge with; default: data/scenes")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many pairs; default: all")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="say what it will cost, and stop")] = False,
    prompt_price: Annotated[float | None, typer.Option(help="price of a million prompt tokens")] = None,
    answer_price: Annotated[float | None, typer.Option(help="price of a million answer tokens")] = None,
) -> int:
    """Compare two runs with a judge, which is validated first.

    The truth must win against answers known to be worse. The same command resumes where it stopped. Exits with status 1
    if the judge may not rank or calls failed.
    """
    from helpers.files import OUTPUTS
    from toolkit.evaluation.inference.client import Endpoint
    from toolkit.evaluation.judging import cli as judging
    from toolkit.evaluation.judging.model_judge import Prices

    runs = judging.JudgedRuns(
        items, transcripts, first, second, known=known, limit=limit, estimate_only=estimate,
        prices=Prices.given(prompt_price, answer_price),
    )  # fmt: skip
    chosen = judging.choose_judge(judge, url, model, key, revision)
    if isinstance(chosen, Endpoint):
        out = out or OUTPUTS / "judge.jsonl"
        return judging.main(runs, judging.JudgeSettings(chosen, out, concurrency, image, facts, longest_reason))
    return judging.main(runs, chosen)


@evaluate.command("report")
def evaluate_report(
    items: Items,
    transcripts: Annotated[list[Path], typer.Option(help="file of transcripts; may be given several times")],
    out: Annotated[Path | None, typer.Option(help="the HTML file; default: outputs/report.html")] = None,
    first: Annotated[str | None, typer.Option(help="run to compare; default: the first of two")] = None,
    second: Annotated[str | None, typer.Option(help="the other run")] = None,
) -> int:
    """Write two runs side by side into one HTML file."""
    from helpers.files import OUTPUTS
    from toolkit.evaluation.report.page import write_report

    print(write_report(items, transcripts, out or OUTPUTS / "report.html", first, second))
    return 0


@evaluate.command("export")
def evaluate_export(
    transcripts: Annotated[Path, typer.Option(help="file of transcripts")],
    out: Annotated[Path, typer.Option(help="Parquet file to write; an existing one is replaced")],
    items: Annotated[Path | None, typer.Option(help="folder with items.jsonl, whose answers are added")] = None,
) -> int:
    """Write transcripts as a table, one row per attempt."""
    from toolkit.evaluation.inference import export

    return export.main(transcripts, out, items)


def name_values(command: Any) -> None:
    """Show what an option takes under the option's own name, ``--url URL``, where typer would write ``<str>``."""
    for parameter in command.params:
        if parameter.type_descriptor.annotation is str and parameter.metavar is None:
            parameter.metavar = parameter.name.upper()
            if parameter.param_type_name == "argument":  # whose name would be followed by it
                parameter.display_type_rich = lambda ctx: ""
    for below in getattr(command, "commands", {}).values():
        name_values(below)


def main() -> None:
    """Run a command; a `CourseError` is printed without a traceback and ends with status 1."""
    command = typer.main.get_command(app)
    name_values(command)
    try:
        status = command(standalone_mode=False)
    except CourseError as error:
        print(error, file=sys.stderr)
        status = 1
    except typer.Exit as stop:
        status = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT):
            raise
        cause = "a full disk, or a folder that is read-only or somebody else's"
        remedy = "name another place: COURSE_OUTPUTS for what runs leave behind, COURSE_MODELS_DIR for models, --out"
        print(CourseError(f"{error.filename} cannot be used: {error.strerror}.", cause, remedy), file=sys.stderr)
        status = 1
    except Exception as error:
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):  # click's usage errors have both
            raise
        error.show()
        status = error.exit_code
    if status == 130:
        print("interrupted", file=sys.stderr)
    sys.exit(status or 0)
