"""Makes `pytest --nbval notebooks` mean the same everywhere: bundled model, this environment's kernel, stderr aside."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: nbval waits a fixed 5 seconds for a cell's output after the cell has ended (nbval issues 151 and 231): too little
#: for a machine whose cores are all busy with the engine.
OUTPUT_WAIT_SECONDS = 60
#: As the learners get them: nothing is answered yet. Their solutions are compared instead.
collect_ignore = ["exercises"]


def pytest_configure(config):
    """Settings that nbval's command line would otherwise have to repeat; the kernels inherit the environment."""
    if not getattr(config.option, "nbval", False) and not getattr(config.option, "nbval_lax", False):
        return
    config.option.nbval_current_env = config.option.nbval_kernel_name is None
    config.option.nbval_sanitize_with = config.option.nbval_sanitize_with or str(ROOT / "tests" / "nbval_sanitize.cfg")
    config.option.nbval_kernel_startup_timeout = max(config.option.nbval_kernel_startup_timeout, 120)
    os.environ["COURSE_PROFILE"] = "tiny"  # the committed outputs were made on it
    os.environ["COURSE_EXERCISES_LOG"] = ""  # the verdicts on solutions are no learner's progress
    for variable in ("COURSE_REHEARSE", "COURSE_SERVER_URL"):
        os.environ.pop(variable, None)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Logs and progress bars go to stderr and never repeat: compare everything else."""
    collectors = yield
    for collector in collectors or []:
        if hasattr(collector, "skip_compare"):
            collector.skip_compare += ("stderr",)
    return collectors


def pytest_runtest_setup(item):
    """The manifest's time-out for a cell, not nbval's one for all."""
    if not hasattr(item, "output_timeout"):
        return
    from course.manifest import load_manifest

    item.output_timeout = OUTPUT_WAIT_SECONDS
    entries = {entry.file: entry for entry in load_manifest(must_exist=False).notebooks}
    entries |= {f"{entry.label}.ipynb": entry for entry in entries.values()}  # the solutions
    if item.path.name in entries:
        item.config.option.nbval_cell_timeout = entries[item.path.name].timeout.cell
