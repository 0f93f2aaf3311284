"""Chapter 11 takes a folder of one's own: all that it does before a server is started, run on one."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from PIL import Image

from helpers.files import COURSE_ROOT, search_path

NOTEBOOK = COURSE_ROOT / "notebooks" / "11_adapt_with_lora.ipynb"
#: Runs cells in one namespace; the parameters are changed as papermill changes them.
RUN = """
import json, sys
cells, parameters = json.loads(sys.stdin.read())
names = {}
for cell in cells:
    exec(compile(cell, "cell", "exec"), names)
    if cell.startswith('profile = '):
        names.update(parameters)
print(json.dumps([len(names["items"]), len(names["training"]), len(names["test_items"]), names["title"], names["log"]]))
"""


@pytest.fixture
def own_items(tmp_path):
    """Nine photographs, without any of the fields that only this course's own items have."""
    folder, colours = tmp_path / "my squares", {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
    folder.mkdir()
    lines = []
    for number in range(9):
        name = list(colours)[number % 3]
        Image.new("RGB", (90 + number, 70), colours[name]).save(folder / f"{number}.jpg")
        content = [{"type": "image_url", "image_url": {"url": f"{number}.jpg"}}, {"type": "text", "text": "Colour?"}]
        lines.append({"messages": [{"role": "user", "content": content}], "answer": [name]})
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_it_learns_from_a_folder_of_ones_own(own_items):
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    before = cells[: next(place for place, cell in enumerate(cells) if "server = serve(" in cell.source)]
    code = [cell.source for cell in before if cell.cell_type == "code"]
    parameters = {"profile": "tiny", "folder": str(own_items), "steps": 3, "tower_steps": 1, "batch_size": 2}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([code, parameters]),
        cwd=COURSE_ROOT / "notebooks",
        env={**os.environ, "PYTHONPATH": search_path(os.environ), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    items, training, judged, title, log = json.loads(done.stdout.splitlines()[-1])
    assert (items, training, judged, title) == (9, 6, 1, "my squares")
    assert [row["step"] for row in log] == [1, 2, 3]
