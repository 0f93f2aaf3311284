"""Downloads with the real client libraries from a hub on 127.0.0.1, broken off, damaged and refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple

import pytest
from huggingface_hub.utils import close_session

from helpers import download, hubs
from helpers.download import (
    LOCK_FILE,
    MANIFEST_FILE,
    check_free_space,
    copy_bundled,
    download_model,
    find_damage,
    read_lock,
    read_manifest,
    verify_local,
)
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT
from tests.support.local_hub import COMMIT, REPO, WANTED, WEIGHTS, WEIGHTS_NAME, run_hub

SOURCES = ["huggingface", "modelscope"]


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    """Fail the test if a client tries to talk to another machine, even in passing."""
    real, strangers = socket.getaddrinfo, []

    def guarded(host, *arguments, **keywords):
        if host not in {"127.0.0.1", "localhost", None}:
            strangers.append(host)
            raise socket.gaierror(f"the tests do not leave this machine: {host}")
        return real(host, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    # The library's constants keep the hub's address of its first import, which an earlier test may have caused, and its
    # telemetry would then ask that hub for a list.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    yield
    assert strangers == []


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of our own; both clients are sent to it and to nowhere else."""
    with run_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(key, raising=False)
        close_session()  # the client keeps the proxies and certificates of its first use
        yield hub
        close_session()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models" / "test"


def model_files(folder):
    """Visible files of a model folder, without the libraries' own notes."""
    return {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}


@pytest.mark.parametrize("source", SOURCES)
def test_only_needed_files_come_and_are_what_the_hub_states(hub, folder, source, capsys):
    download_model(REPO, folder, source)
    assert {name for name in model_files(folder) if name not in {LOCK_FILE, ".mdl", ".msc"}} == WANTED
    for name in WANTED:
        assert (folder / name).read_bytes() == hub.files[name]
    assert not list((folder / ".cache").rglob("*.incomplete")) and not list(folder.rglob("partial/*"))
    output = capsys.readouterr().out
    assert "unpinned" in output and COMMIT[:12] in output and "6 files" in output and "Verified: 6 of 6" in output


@pytest.mark.parametrize("source", SOURCES)
def test_a_second_download_fetches_nothing(hub, folder, source):
    download_model(REPO, folder, source, quiet=True)
    hub.log.clear()
    download_model(REPO, folder, source, quiet=True)
    assert [request for request in hub.log if request.method == "GET"] == []


@pytest.mark.parametrize("source", SOURCES)
def test_the_commit_is_recorded_and_used_afterwards(hub, folder, source, capsys):
    download_model(REPO, folder, source, quiet=True)
    lock = read_lock(folder)
    assert (lock.commit, lock.source, lock.repo_id) == (COMMIT, source, REPO)
    assert {file.path for file in lock.files} == WANTED
    hub.paths.clear()
    download_model(REPO, folder, source)
    assert f"commit {COMMIT[:12]}, as recorded" in capsys.readouterr().out
    if source == "huggingface":
        assert all("/main" not in path for path in hub.paths)


def test_a_branch_that_moved_is_not_followed_unless_asked(hub, folder):
    first = download_model(REPO, folder, quiet=True)
    assert first.commit == COMMIT
    hub.commit, hub.files["config.json"] = "d" * 40, b'{"moved": true}'
    with pytest.raises(CourseError, match="has no revision"):  # this little hub keeps no history
        download_model(REPO, folder, quiet=True)
    assert (folder / "config.json").read_bytes() == b'{"model_type": "qwen3_vl"}\n'
    download_model(REPO, folder, revision="main", quiet=True)
    assert read_lock(folder).commit == "d" * 40
    assert (folder / "config.json").read_bytes() == b'{"moved": true}'


@pytest.mark.parametrize("source", SOURCES)
def test_a_cut_connection_is_continued_within_the_call(hub, folder, source):
    hub.cut_once[WEIGHTS_NAME] = 15 << 20
    download_model(REPO, folder, source, quiet=True)
    first, second = hub.fetched(WEIGHTS_NAME)
    assert first.start == 0 and second.start >= 10 << 20
    assert (folder / WEIGHTS_NAME).read_bytes() == WEIGHTS


@pytest.mark.parametrize("source", SOURCES)
def test_a_killed_download_continues_where_it_stopped(hub, folder, source):
    hub.stall_at[WEIGHTS_NAME] = 15 << 20
    code = "import sys; from pathlib import Path; from helpers.download import download_model as d; "
    code += "d(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    child = subprocess.Popen(
        [sys.executable, "-c", code, REPO, str(folder), source],
        env={**os.environ, "PYTHONPATH": str(COURSE_ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        weights = hubs.RemoteFile(WEIGHTS_NAME, len(WEIGHTS), "sha256", hub.sha256(WEIGHTS_NAME))
        client = hubs.find_hub(source)
        deadline = time.monotonic() + 90
        while client.bytes_waiting(weights, folder) < 10 << 20:
            assert child.poll() is None and time.monotonic() < deadline, "nothing reached the disk"
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    hub.resume.set()
    waiting = client.bytes_waiting(weights, folder)
    assert 0 < waiting < len(WEIGHTS)
    assert not (folder / LOCK_FILE).exists() and not (folder / WEIGHTS_NAME).exists()
    hub.log.clear()
    download_model(REPO, folder, source, quiet=True)
    (again,) = hub.fetched(WEIGHTS_NAME)
    assert again.start == waiting and again.sent == len(WEIGHTS) - waiting
    assert (folder / WEIGHTS_NAME).read_bytes() == WEIGHTS


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("victim", ["config.json", WEIGHTS_NAME])
def test_a_damaged_file_is_found_named_and_alone_fetched_again(hub, folder, source, victim, capsys):
    download_model(REPO, folder, source, quiet=True)
    good = (folder / victim).read_bytes()
    stamp = (folder / victim).stat()
    (folder / victim).write_bytes(bytes([good[0] ^ 1]) + good[1:])  # same size, one bit
    os.utime(folder / victim, (stamp.st_atime, stamp.st_mtime))  # and the old date: only the hash can tell
    with pytest.raises(CourseError, match=f"1 of 6 files are damaged: {victim}: its .* differs"):
        verify_local(folder, quiet=True)
    hub.log.clear()
    capsys.readouterr()
    download_model(REPO, folder, source)
    output = capsys.readouterr().out
    assert f"Damaged, fetching again: {victim}" in output and "Arrived damaged" not in output
    assert {request.file for request in hub.log if request.method == "GET"} == {victim}
    assert (folder / victim).read_bytes() == good
    verify_local(folder, quiet=True)


def test_a_file_that_arrives_damaged_is_fetched_once_more(hub, folder):
    hub.damage_times[WEIGHTS_NAME] = 1
    download_model(REPO, folder, quiet=True)
    assert len(hub.fetched(WEIGHTS_NAME)) == 2
    assert (folder / WEIGHTS_NAME).read_bytes() == WEIGHTS


def test_a_hub_that_keeps_sending_damage_is_given_up_and_nothing_wrong_stays(hub, folder, capsys):
    hub.damage_times[WEIGHTS_NAME] = 99
    with pytest.raises(CourseError, match=f"do not match what huggingface lists: {WEIGHTS_NAME}"):
        download_model(REPO, folder)
    assert f"Arrived damaged, fetching again: {WEIGHTS_NAME}: its sha256 differs" in capsys.readouterr().out
    assert not (folder / WEIGHTS_NAME).exists() and not (folder / LOCK_FILE).exists()
    assert (folder / "config.json").exists()


@pytest.mark.parametrize("source", SOURCES)
def test_space_is_checked_before_a_byte_is_written(hub, folder, source, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage(1 << 40, 0, 1 << 20))
    with pytest.raises(CourseError, match=r"Not enough disk space: 24\.0 MiB still to download, 1\.0 MiB free"):
        download_model(REPO, folder, source, quiet=True)
    assert not folder.exists() and hub.log == []


def test_space_is_asked_of_the_disk_that_will_hold_the_folder(tmp_path):
    assert check_free_space(0, tmp_path / "not" / "there" / "yet") > 0
    with pytest.raises(CourseError, match="COURSE_MODELS_DIR"):
        check_free_space(1 << 60, tmp_path)


@pytest.mark.parametrize(
    ("source", "revision", "words"),
    [
        ("huggingface", "v9", "has no revision 'v9' on huggingface"),
        ("modelscope", "v9", "no revision 'v9'"),
    ],
)
def test_an_unknown_revision_is_named(hub, folder, source, revision, words):
    with pytest.raises(CourseError, match=words):
        download_model(REPO, folder, source, revision, quiet=True)
    assert not folder.exists()


@pytest.mark.parametrize("source", SOURCES)
def test_an_unknown_model_is_named(hub, folder, source):
    with pytest.raises(CourseError, match="no model Qwen/Nothing"):
        download_model("Qwen/Nothing", folder, source, quiet=True)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("status", "code", "what", "remedy"),
    [
        (401, "", "gives no access to .* \\(HTTP 401\\)", "log in with"),
        (403, "GatedRepo", "gives no access to .* \\(HTTP 403\\)", "accept the model's terms"),
        (407, "", "proxy between this machine and .* wants a name", "HTTPS_PROXY=http://name:password"),
        (416, "", "refused the request \\(HTTP 416\\)", "check the address of the hub"),
        (429, "", "too many requests from here \\(HTTP 429\\)", "it resumes where it stopped"),
        (451, "", "may not give .* \\(HTTP 451\\)", "--source"),
        (500, "", "answered HTTP 500", "later"),
    ],
)
def test_refusals_teach(hub, folder, source, status, code, what, remedy, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # clients try some of them again
    hub.status, hub.error_code = status, code
    with pytest.raises(CourseError, match=what) as caught:
        download_model(REPO, folder, source, quiet=True)
    assert remedy in caught.value.remedy and caught.value.cause


@pytest.mark.parametrize(("source", "variable"), [("huggingface", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")])
def test_a_token_that_is_refused_is_told_from_a_missing_one(hub, folder, source, variable, monkeypatch):
    hub.status = 401
    monkeypatch.setenv(variable, "hf_expired")
    with pytest.raises(CourseError, match="refuses the token that was sent") as caught:
        download_model(REPO, folder, source, quiet=True)
    assert variable in caught.value.cause and f"unset {variable}" in caught.value.remedy


def test_a_token_of_other_characters_is_named(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_ключ")
    with pytest.raises(CourseError, match="characters that no token has"):
        download_model(REPO, folder, quiet=True)


@pytest.mark.parametrize(
    ("source", "variable"), [("huggingface", "HF_ENDPOINT"), ("modelscope", "MODELSCOPE_ENDPOINT")]
)
@pytest.mark.parametrize("change", [" {} ", "{}/a b", "ftp://{}", "https:///{}"])
def test_an_address_that_is_none_is_refused_by_the_name_of_its_variable(
    hub, folder, source, variable, change, monkeypatch
):
    monkeypatch.setenv(variable, change.format(hub.url.split("//")[1]))
    with pytest.raises(CourseError, match=f"^{variable}=.* is not the address of a hub"):
        download_model(REPO, folder, source, quiet=True)


def test_an_address_without_scheme_is_refused_where_the_library_would_guess(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url.split("//")[1])
    with pytest.raises(CourseError, match=r"no http:// or https:// in front"):
        download_model(REPO, folder, quiet=True)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "www.modelscope.cn")
    assert hubs.find_hub("modelscope").endpoint == "https://www.modelscope.cn"


def test_an_address_of_ones_own_is_said_where_it_may_be_the_cause(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/mirror/")
    with pytest.raises(CourseError, match="no model") as caught:
        download_model(REPO, folder, quiet=True)
    assert f"HF_ENDPOINT says {hub.url}/mirror" in caught.value.cause


@pytest.mark.parametrize("source", SOURCES)
def test_the_login_page_of_a_network_is_no_hub(hub, folder, source):
    hub.page = b"<html>Please log in</html>"
    with pytest.raises(CourseError, match="is no model hub"):
        download_model(REPO, folder, source, quiet=True)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:9/", "socks5://127.0.0.1:9"])
def test_a_socks_proxy_without_support_is_named(hub, folder, source, proxy, monkeypatch):
    for name in ("ALL_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for package in ("socksio", "socks"):  # as on a machine where nobody installed them
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CourseError, match="names a SOCKS proxy") as caught:
        download_model(REPO, folder, source, quiet=True)
    assert "unset ALL_PROXY" in caught.value.remedy


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A PEM file with a key and a certificate for 127.0.0.1 that nobody else has signed."""
    import datetime
    import ipaddress

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a hub of one's own")])
    day, begin = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), begin - day, begin + day
    )
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("certificate") / "hub.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_hub(hub, certificate, monkeypatch):
    """A hub whose certificate is its own."""
    with run_hub(certificate) as secure:
        for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(name, secure.url)
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        yield secure


@pytest.mark.parametrize(
    ("source", "variable"), [("huggingface", "SSL_CERT_FILE"), ("modelscope", "REQUESTS_CA_BUNDLE")]
)
def test_a_certificate_that_nobody_signed_is_not_called_a_lost_connection(
    secure_hub, folder, source, variable, monkeypatch, tmp_path
):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(CourseError, match=r"certificate of .* is not trusted") as caught:
        download_model(REPO, folder, source, quiet=True)
    assert f"set {variable} to it" in caught.value.remedy
    monkeypatch.setenv(variable, str(tmp_path / "lost.pem"))
    close_session()
    with pytest.raises(CourseError, match=r"file of certificates .* is not there") as caught:
        download_model(REPO, folder, source, quiet=True)
    assert f"{variable}={tmp_path / 'lost.pem'}" in caught.value.cause


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("below", ["", "models/test"])
def test_a_folder_that_is_a_file_is_named_before_anything_is_asked(hub, tmp_path, source, below):
    (tmp_path / "taken").write_text("notes")
    with pytest.raises(CourseError, match=r"Nothing can be put into .*taken") as caught:
        download_model(REPO, tmp_path / "taken" / below, source, quiet=True)
    assert caught.value.cause == "it is a file" and hub.paths == []


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied", "/locked/place"), OSError(30, "read-only", "/locked/place")]
)
def test_a_place_that_cannot_be_written_is_named(hub, folder, error, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *ids, **options: (_ for _ in ()).throw(error))
    with pytest.raises(CourseError, match="/locked/place cannot be written"):
        download_model(REPO, folder, quiet=True)


@pytest.mark.parametrize("source", SOURCES)
def test_no_network_is_told_with_the_way_out(folder, source, monkeypatch, tmp_path):
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(CourseError, match="cannot be reached"):
        download_model(REPO, folder, source, quiet=True)
    assert not folder.exists()


def test_the_token_goes_to_the_hub_and_not_to_the_storage_behind_it(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_only_for_this_test")
    download_model(REPO, folder, quiet=True)
    assert any(path.startswith("/api/models/") for path in hub.paths_with_token)
    assert hub.fetched(WEIGHTS_NAME) and not [path for path in hub.paths_with_token if path.startswith("/storage/")]


def test_an_unknown_hub_is_refused(folder):
    with pytest.raises(CourseError, match="no hub named 'ftp'"):
        download_model(REPO, folder, "ftp")


def write_profile(path):
    """A profile 'test' whose model lies on the hub."""
    fields = {"title": "T", "model": REPO, "source": "hub", "revision": "main", "family": "qwen3-vl"}
    fields |= {"devices": ["cpu"], "dtype": {"cpu": "bfloat16"}}
    fields |= {"max_model_len": 8, "parameters_billions": 1, "needs_gib": 1}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"profiles": {"test": fields}}))
    return path


def test_command_downloads_a_profile_and_verifies_without_network(hub, tmp_path, monkeypatch, capsys):
    profiles = write_profile(tmp_path / "profiles.yaml")
    monkeypatch.setattr("helpers.profiles.PROFILES_FILE", profiles)
    monkeypatch.setenv("COURSE_MODELS_DIR", str(tmp_path / "models"))
    with pytest.raises(CourseError, match="not been downloaded yet"):
        download.download_profile("test", verify_only=True)
    download.download_profile("test", source="modelscope")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.paths.clear()
    capsys.readouterr()
    download.download_profile("test")
    assert hub.paths == [] and "Verified: 6 of 6" in capsys.readouterr().out
    with pytest.raises(CourseError, match="no profile 'nope'"):
        download.download_profile("nope")


def test_a_damaged_lock_file_is_named(folder):
    folder.mkdir(parents=True)
    (folder / LOCK_FILE).write_text("{")
    with pytest.raises(CourseError, match=LOCK_FILE):
        read_lock(folder)


# -- the bundled model


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A folder like data/models/tiny-qwen3-vl, with its manifest."""
    monkeypatch.setattr(download, "COURSE_ROOT", tmp_path / "course")
    folder = tmp_path / "course" / "data" / "models" / "tiny"
    folder.mkdir(parents=True)
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    (folder / MANIFEST_FILE).write_text("".join(lines))
    return folder


def test_the_bundle_is_copied_verified_and_repaired(bundle, tmp_path, capsys):
    target = tmp_path / "copy"
    copy_bundled(bundle, target)
    assert "copied: 2" in capsys.readouterr().out
    assert verify_local(target, quiet=True)[1].path == "model.safetensors"
    (target / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(CourseError, match="again: only these files"):
        verify_local(target, quiet=True)
    copy_bundled(bundle, target)
    output = capsys.readouterr().out
    assert "copied again: model.safetensors: its sha256 differs" in output and "copied: 1" in output


@pytest.mark.parametrize("damage", [b"weightz", b"we", None])
def test_a_damaged_bundle_names_the_file_and_how_to_restore_it(bundle, tmp_path, damage):
    victim = bundle / "model.safetensors"
    victim.write_bytes(damage) if damage else victim.unlink()
    for check in (lambda: verify_local(bundle), lambda: copy_bundled(bundle, tmp_path / "copy")):
        with pytest.raises(CourseError, match=r"model\.safetensors") as caught:
            check()
        assert caught.value.remedy == "git checkout -- data/models/tiny/model.safetensors"


def test_changed_line_endings_are_named_as_the_cause(bundle):
    victim = bundle / "config.json"
    text = victim.read_bytes() + b"\n"
    manifest = bundle / MANIFEST_FILE
    manifest.write_text(f"{hashlib.sha256(text).hexdigest()}  config.json\n")
    victim.write_bytes(text.replace(b"\n", b"\r\n"))
    with pytest.raises(CourseError) as caught:
        verify_local(bundle)
    assert "CRLF" in caught.value.cause
    # git takes a file that it converted itself for unchanged, and restores it only once it is gone
    assert caught.value.remedy.startswith("rm -f data/models/tiny/config.json; git checkout -- ")


@pytest.mark.parametrize("line", ["abc  file", "0" * 64, "0" * 64 + "  ../secret", "0" * 64 + "  /etc/passwd"])
def test_a_manifest_line_that_is_none_is_refused(bundle, line):
    (bundle / MANIFEST_FILE).write_text(line)
    with pytest.raises(CourseError, match="line 1"):
        read_manifest(bundle)


def test_the_committed_bundle_is_what_its_manifest_says():
    folder = COURSE_ROOT / "data" / "models" / "tiny-qwen3-vl"
    if not (folder / MANIFEST_FILE).is_file():
        pytest.skip(f"absent: data/models/tiny-qwen3-vl/{MANIFEST_FILE}")
    assert find_damage(folder, read_manifest(folder)) == []
    listed = {file.path for file in read_manifest(folder)}
    assert "config.json" in listed and any(name.endswith(".safetensors") for name in listed)


def test_lock_file_is_plain_json(hub, folder):
    download_model(REPO, folder, quiet=True)
    data = json.loads((folder / LOCK_FILE).read_text())
    assert data["revision"] == "main" and data["commit"] == COMMIT
    assert {"path", "size", "hash_kind", "digest"} == set(data["files"][0])


@pytest.mark.parametrize("source", SOURCES)
def test_notebook_01_downloads_a_profile_of_a_hub(hub, tmp_path, source):
    """The notebook's own calls, which the tiny profile never reaches, against the hub of this test."""
    notebook = json.loads((COURSE_ROOT / "notebooks" / "01_model_download.ipynb").read_text())
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"}
    wanted = [
        "choose",
        "files-patterns",
        "plan",
        "space",
        "fetch-huggingface",
        "fetch-modelscope",
        "verify",
        "verify-all",
    ]
    code = [f"profile, source, revision = 'test', {source!r}, None", *(cells[name] for name in [*wanted, "offline"])]
    root = tmp_path / "course"
    write_profile(root / "data" / "profiles.yaml")
    folders = {"COURSE_ROOT": str(root), "COURSE_MODELS_DIR": str(tmp_path / "models"), "COURSE_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env={**os.environ, "PYTHONPATH": str(COURSE_ROOT), **folders},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"not called: source is {source}") == 1
    assert "Verified: 6 of 6" in done.stdout and "found without network: True" in done.stdout
    assert read_lock(tmp_path / "models" / REPO).commit == COMMIT
    assert len(hub.fetched(WEIGHTS_NAME)) == 1
