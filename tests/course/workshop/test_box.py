"""The box: what is in it, what is not, and what it refuses."""

import copy
import tarfile

import pytest

from course.manifest import load_manifest
from course.workshop import box, guide
from course.workshop.box import ROOT_NAME, STUDENT, Order, make_box, student_files
from course.workshop.guide import Guide, load_guide, minutes_of
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_yaml
from toolkit.exercises import cards

ORDER = Order(30, "none")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One box without wheels; read, not changed."""
    out = tmp_path_factory.mktemp("room") / "box"
    assert make_box(ORDER, out, with_wheels=False) == 0
    return out


def test_a_seat_gets_what_it_needs_and_no_solutions(made):
    with tarfile.open(made / STUDENT) as tar:
        names = [name.removeprefix(f"{ROOT_NAME}/") for name in tar.getnames()]
    for wanted in (
        "Makefile",
        "notebooks/course.yaml",
        "data/models/tiny-qwen3-vl/model.safetensors",
        "requirements/lock-cpu.txt",
        "course/bootstrap.py",
        "course/workshop/preflight.py",
        "helpers/page.css.jinja",
        *(f"notebooks/{entry.file}" for entry in load_manifest().notebooks),
    ):
        assert wanted in names, wanted
    assert [name for name in names if "solutions" in name or name.startswith(("tests/", "outputs/", ".", "/"))] == []


def test_a_seat_gets_hints_and_no_model_answers(made, monkeypatch, tmp_path):
    with tarfile.open(made / STUDENT) as tar:
        tar.extractall(tmp_path, filter="data")
    full, folder = {chapter: cards.cards_of(chapter) for chapter in cards.chapters()}, tmp_path / ROOT_NAME / box.CARDS
    monkeypatch.setattr(cards, "CARDS", folder)
    for chapter, known in full.items():
        found = cards.cards_of.__wrapped__(chapter)
        assert found == {name: card.model_copy(update={"explanation": None}) for name, card in known.items()}
        assert "explanation" not in (folder / f"{chapter}.yaml").read_text(encoding="utf-8")


def test_keys_downloads_caches_and_links_stay_at_home(tmp_path):
    for name in (
        "data/models/tiny-qwen3-vl/model.safetensors",
        "data/models/Qwen/Qwen3-VL-8B-Instruct/model.safetensors",
        "data/.env",
        "data/__pycache__/x.pyc",
        "notebooks/01_a.ipynb",
        "notebooks/solutions/01.ipynb",
        "notebooks/exercises/01.ipynb",
        "course/out/guide.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "data" / "link").symlink_to("/etc/hostname")
    found = [str(path.relative_to(tmp_path)) for path in student_files(tmp_path, tmp_path / "course" / "out")]
    assert found == [
        "notebooks/01_a.ipynb",
        "notebooks/exercises/01.ipynb",
        "data/models/tiny-qwen3-vl/model.safetensors",
    ]


def test_the_guide_is_complete_and_stands_alone(made):
    text, page = (made / "guide.md").read_text(), (made / "guide.html").read_text()
    for entry in load_manifest().notebooks:
        assert f"### {entry.label} · {entry.title}" in text
    assert "a workshop for 30 seats" in page and text.count("## Time plan: ") == page.count("<h2>Time plan: ") == 3
    assert "http://gpu-machine:8000" in text and "{{" not in text
    assert not any(word in page for word in ("<script", "https://", "src=", "url("))


def test_a_rerun_goes_on_and_another_order_does_not(made):
    assert make_box(ORDER, made, with_wheels=False) == 0
    before = sorted(path.name for path in made.iterdir())
    with pytest.raises(CourseError, match=r"another workshop \(seats 30\)"):
        make_box(Order(40, "none"), made, with_wheels=False)
    assert sorted(path.name for path in made.iterdir()) == before


@pytest.mark.parametrize("name", ["notes.txt", "workshop.json"])
def test_a_folder_of_ones_own_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CourseError, match="has not made"):
        make_box(ORDER, tmp_path, with_wheels=False)
    with pytest.raises(CourseError, match="has not made"):
        make_box(ORDER, tmp_path / name, with_wheels=False)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_what_cannot_be_made_leaves_nothing_behind(monkeypatch, tmp_path):
    with pytest.raises(CourseError, match="No card"):
        make_box(Order(30, "GTX 9999"), tmp_path / "box")
    monkeypatch.setattr("course.workshop.wheels.free_disk_bytes", lambda _: 1)
    with pytest.raises(CourseError, match="Too little disk space"):
        make_box(ORDER, tmp_path / "box")
    assert not (tmp_path / "box").exists()


def test_the_wheels_come_last_and_an_interruption_leaves_the_rest(monkeypatch, tmp_path):
    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(box, "fetch_wheels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_box(ORDER, tmp_path / "box")
    assert {"guide.html", "guide.md", "install.sh", "server", STUDENT, "workshop.json"} == {
        path.name for path in (tmp_path / "box").iterdir()
    }
    monkeypatch.setattr(box, "fetch_wheels", lambda folder: 7)
    assert make_box(ORDER, tmp_path / "box") == 0


def test_the_plans_use_their_days_and_the_longest_meets_every_chapter():
    manifest, plans = load_manifest(), load_guide().plans
    for plan in plans:
        for day in plan.days:
            used = sum(minutes_of(step, manifest) for step in day.steps)
            assert 0.9 * day.minutes <= used <= day.minutes, plan.name
    met = {step.chapter for day in plans[-1].days for step in day.steps}
    assert met >= {entry.label for entry in manifest.notebooks}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data["chapters"].pop("03"), "03"),
        (lambda data: data["plans"][0]["days"][0]["steps"].append({"chapter": "99", "do": "x"}), "99"),
        (lambda data: data["plans"][0]["days"][0].update(minutes=60), "takes 120 minutes and has 60"),
        (lambda data: data["plans"][0]["days"][0]["steps"][0].pop("minutes"), "either"),
        (lambda data: data["chapters"]["03"].update(sy=[]), "sy"),
    ],
)
def test_a_mistake_in_the_guides_file_is_named(monkeypatch, spoil, said):
    data = copy.deepcopy(read_yaml(guide.GUIDE_FILE))
    spoil(data)
    monkeypatch.setattr(guide, "read_yaml", lambda _: data)
    with pytest.raises(CourseError, match=said):
        load_guide()


def test_a_guide_names_only_commands_that_exist(made):
    from course.cli import app

    known = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    text = (made / "guide.md").read_text()
    used = {line.split("course ")[1].split()[0] for line in text.splitlines() if line.strip().startswith("course ")}
    assert used and used <= known
    assert isinstance(load_guide(), Guide) and COURSE_ROOT not in made.parents
