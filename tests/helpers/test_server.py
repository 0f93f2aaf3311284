"""The server helper without an engine: diagnosis, early checks, ports, joining, the shown command."""

import http.server
import json
import re
import shlex
import shutil
import signal
import socket
import threading

import psutil
import pytest
import yaml

from helpers.errors import CourseError
from helpers.local_http import bypass_proxies
from helpers.profiles import COURSE_ROOT, ActiveProfile, load_profiles
from helpers.server import Address, Server, join, serve
from helpers.server_checks import check_environment, check_memory, check_model, port_holder, reserve_port, shown
from helpers.server_log import BEFORE_THE_LOG, PATTERNS_FILE, diagnose, last_words, phase, read_log, recognise

# Lines of logs that vLLM 0.32.0 wrote when the failure was brought about on purpose, and a word of the right remedy.
RECORDED = {
    "unknown flag": (
        "main.py: error: unrecognized arguments: --rope-scaling {}",
        "--rope-scaling {}",
        "remove or correct the flag",
    ),
    "bad value": (
        "main.py serve: error: argument --max-num-seqs: invalid int value: 'many'",
        "--max-num-seqs cannot be used: invalid int value: 'many'",
        "correct the value",
    ),
    "KV cache too small": (
        "(EngineCore pid=16323) ERROR 11-21 23:54:50 [core.py:1510] ValueError: To serve at least one request with the "
        "model's max seq len (2048), (0.01 GiB KV cache is needed, which is larger than the available KV cache memory "
        "(0.0 GiB). Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or "
        "decreasing `max_model_len` when initializing the engine.\nRuntimeError: Engine core initialization "
        "failed. See "
        "root cause above. Failed core proc(s): {'EngineCore': 1}",
        "too small to hold one request",
        "HIGHER gpu_memory_utilization",
    ),
    "KV cache larger than RAM": (
        "ValueError: Available memory on node 0 (6.47/10.96 GiB) on kv cache allocation is less than requested "
        "memory for "
        "kv (83.82 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other "
        "processes.",
        "less free RAM",
        "lower VLLM_CPU_KVCACHE_SPACE",
    ),
    "an address for a port": (
        '  File "vllm/envs.py", line 538, in get_vllm_port\n    raise ValueError(\nValueError: VLLM_PORT '
        "'tcp://10.0.0.1:8000' appears to be a URI. This may be caused by a Kubernetes service discovery issue,check "
        "the warning in: https://docs.vllm.ai/en/latest/configuration/env_vars.html",
        "VLLM_PORT is 'tcp://10.0.0.1:8000'",
        "unset VLLM_PORT",
    ),
    "a number with its unit": (
        '  File "vllm/envs.py", line 888, in <lambda>\n    int(os.getenv("VLLM_CPU_KVCACHE_SPACE", "0"))\n'
        "ValueError: invalid literal for int() with base 10: '4GB'",
        "'4GB'",
        "env | grep VLLM_",
    ),
    "a long folder of sockets": (
        'zmq.error.ZMQError: ipc path "/tmp/scratch-of-project/4f0c" is longer than 107 characters (sizeof('
        "sockaddr_un.sun_path)). zmq.IPC_PATH_MAX_LEN constant can be used to check addr length (if it is defined).",
        "TMPDIR",
        "VLLM_RPC_BASE_PATH=/tmp",
    ),
    "port": (
        "    sock.bind(addr)\nOSError: [Errno 98] Address already in use",
        "took the port",
        "without specifying a port",
    ),
    "heads": (
        "  Value error, Total number of attention heads (3) must be divisible by tensor parallel size (2). "
        "[type=value_error, input_value=ArgsKwargs((), {'model_co... 'shutdown_timeout': 0}), input_type=ArgsKwargs]",
        "3 attention heads cannot be shared out among 2",
        "tensor_parallel_size",
    ),
    "truncated weights": (
        "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, "
        "file not "
        "fully covered",
        "damaged or incomplete",
        "restore",
    ),
    "architecture": (
        "  Value error, Model architectures ['Qwen9VLForConditionalGeneration'] are not supported for now. Supported "
        "architectures: dict_keys(['AfmoeForCausalLM', 'ApertusForCausalLM'",
        "does not know the model's architecture",
        "config.json",
    ),
    "context": (
        "  Value error, User-specified max_model_len (99999) is greater than the derived max_model_len "
        "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json).",
        "context is shorter than 99999 tokens",
        "lower max_model_len",
    ),
}
# Messages from vLLM's and torch's sources and from public threads.
REPORTED = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.": "LOWER gpu_memory_utilization",
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`": "HIGHER",
    "ValueError: Free memory on device (3.2/31.4 GiB) on startup is less than desired GPU memory utilization": "LOWER",
    "ValueError: the item exceeds the pre-allocated encoder cache size 2048": "smaller images",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).": "update the driver",
    "output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128.": (
        "--enable-expert-parallel"
    ),
    "ValueError: Video metadata is required but not found in mm input.": "(frames, metadata)",
    "RuntimeError: Cannot re-initialize CUDA in forked subprocess.": "spawn",
    "RuntimeError: operator torchvision::nms does not exist": "rebuild the environment",
    "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has": "float16",
    "  in SemLock.__init__\nOSError: [Errno 28] No space left on device": "--shm-size",
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.": "start the server again",
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_failures_are_recognised(name):
    log, cause, remedy = RECORDED[name]
    found = diagnose(log, 1)
    assert cause in found.cause
    assert remedy in found.remedy


@pytest.mark.parametrize(("log", "remedy"), REPORTED.items())
def test_reported_failures_are_recognised(log, remedy):
    assert remedy in diagnose(log, 1).remedy


def test_a_number_in_the_readers_own_code_is_no_variable_of_the_server():
    assert recognise("ValueError: invalid literal for int() with base 10: '4GB'") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "latin-1"])
def test_a_log_in_any_encoding_is_understood(tmp_path, encoding):
    log = tmp_path / "server.log"
    told = "caf\xe9\r\n" * 9 + RECORDED["KV cache too small"][0]
    log.write_bytes(b"\xff\xfe\x81 torn " + told.encode(encoding))
    for last_bytes in (None, 3001, 3002):  # a reading may begin between the bytes of a character
        assert "lower max_model_len" in diagnose(read_log(log, last_bytes), 1).remedy
    assert "larger than the available" in last_words(read_log(log))
    assert read_log(tmp_path / "absent") == read_log(None) == ""


def test_every_pattern_that_was_seen_here_has_its_recorded_log():
    failures = yaml.safe_load(PATTERNS_FILE.read_text())["failures"]
    logs = [log for log, _, _ in RECORDED.values()]
    for entry in failures:
        assert set(entry) == {"pattern", "cause", "remedy", "seen"}
        assert entry["seen"] == "reported" or entry["seen"].startswith("here, vllm ")
        matched = [log for log in logs if re.search(entry["pattern"], log, re.IGNORECASE)]
        assert bool(matched) == entry["seen"].startswith("here"), entry["pattern"]


def test_an_untroubled_log_matches_no_failure():
    log = (
        "WARNING [system_utils.py:255] Found ulimit of 20000 and failed to automatically increase with error "
        "current limit "
        "exceeds maximum limit. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`. "
        "Consider "
        "increasing with ulimit -n\nINFO: Application startup complete."
    )
    assert "no known pattern" in diagnose(log, 1).cause


def test_the_phase_is_the_furthest_in_the_log():
    assert phase("") == BEFORE_THE_LOG
    assert phase("(APIServer) non-default args: {}") == "reading the configuration"
    assert phase("non-default args\nInitializing a V1 LLM engine\nStarting to load model x") == "loading the weights"


def test_a_kill_from_outside_is_told_apart():
    assert "memory" in diagnose("", 137).cause
    assert "startup_seconds" in diagnose("", None).remedy
    assert "/dev/shm" in diagnose("", 128 + signal.SIGBUS).cause
    assert "course servers" in diagnose("", 128 + signal.SIGTERM).cause


@pytest.fixture
def model_folder(tmp_path):
    """The smallest folder that looks like a model."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Qwen3VLForConditionalGeneration"]}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return tmp_path


def test_a_whole_model_folder_and_a_hub_id_pass(model_folder):
    check_model(str(model_folder))
    check_model("Qwen/Qwen3-VL-2B-Instruct")


def _truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])


def _index(folder):
    index = {"weight_map": {"w": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


DAMAGE = {
    "no folder": (lambda folder: [file.unlink() for file in folder.iterdir()] and folder.rmdir(), "no model folder"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "broken configuration": (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
    "no architecture": (lambda folder: (folder / "config.json").write_text("{}"), "config.json is damaged"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
    "empty weights": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "is damaged"),
    "a page instead of weights": (
        lambda folder: (folder / "model.safetensors").write_text("<html>not found</html>"),
        "is damaged",
    ),
    "truncated weights": (_truncate, "is damaged"),
    "a shard missing": (_index, "model-00001-of-00002.safetensors is missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_model_folders_are_found_before_the_start(model_folder, name):
    damage, told = DAMAGE[name]
    damage(model_folder)
    with pytest.raises(CourseError) as caught:
        check_model(str(model_folder))
    assert told in str(caught.value)
    assert caught.value.remedy


def test_rehearsed_weights_are_not_looked_for(model_folder):
    (model_folder / "model.safetensors").unlink()
    check_model(str(model_folder), ["--load-format", "dummy"])
    check_model(str(model_folder), ["--load-format=dummy"])


def test_too_little_memory_is_told_with_the_numbers(model_folder, monkeypatch):
    tiny = ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder))
    check_memory(tiny)
    scarce = psutil.virtual_memory()._replace(available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: scarce)
    with pytest.raises(CourseError, match=r"1\.0 GiB free"):
        check_memory(tiny)


def test_the_limit_of_a_container_is_too_little_memory(model_folder, monkeypatch):
    monkeypatch.setattr("helpers.machine.cgroup_memory", lambda: (2 * 2**30, 2**30))
    with pytest.raises(CourseError, match=r"1\.0 GiB free"):
        check_memory(ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder)))


def test_a_free_port_is_found_and_held():
    with reserve_port() as first, reserve_port() as second:
        assert first.getsockname()[1] != second.getsockname()[1]
        assert first.getsockname()[0] == "127.0.0.1"


def test_vllm_can_bind_the_port_that_is_held_for_it():
    with reserve_port() as held, socket.socket() as served:
        served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM's create_server_socket does
        served.bind(held.getsockname())
        served.listen()
        with socket.create_connection(held.getsockname(), timeout=5):
            pass


def test_a_taken_port_is_told_with_its_holder():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert str(psutil.Process().pid) in port_holder(port)
        with pytest.raises(CourseError, match=f"Port {port} is taken") as caught:
            reserve_port(port)
        assert str(psutil.Process().pid) in caught.value.cause


def test_a_port_whose_last_connections_linger_can_be_had_again():
    """The one that closes a connection first keeps its port for a minute (TIME_WAIT)."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            listener.accept()[0].close()
            assert client.recv(1) == b""
    with socket.socket() as another, pytest.raises(OSError):
        another.bind(address)
    reserve_port(address[1]).close()


def test_a_port_that_another_start_has_reserved_is_taken():
    with reserve_port() as held, pytest.raises(CourseError, match="is taken") as caught:
        reserve_port(held.getsockname()[1])
    assert "starting" in caught.value.cause


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("VLLM_CPU_KVCACHE_SPACE", "4GB", "whole number of GiB"), ("VLLM_PORT", "x", "whole number"),
     ("VLLM_DP_SIZE", "two", "whole number"), ("VLLM_CHAT_TEMPLATE_RENDER_TIMEOUT", "30s", "number")],
)  # fmt: skip
def test_a_variable_that_vllm_could_not_read_is_named_before_the_start(model_folder, monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(CourseError, match=f"{name} is '{value}'") as caught:
        serve(ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder)), quiet=True)
    assert told in caught.value.cause


def test_full_shared_memory_is_named_before_the_start(monkeypatch, tmp_path):
    check_environment({"VLLM_CPU_KVCACHE_SPACE": "4"})
    monkeypatch.setattr("helpers.server_checks.SHARED_MEMORY", tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CourseError, match="is full"):
        check_environment({})


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_impossible_ports_are_refused(port):
    with pytest.raises(CourseError, match="is not a port"):
        reserve_port(port)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(CourseError, match="not an address of this machine"):
        reserve_port(None, "192.0.2.1")


def test_a_server_for_everybody_needs_a_key(model_folder, monkeypatch):
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    tiny = ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder))
    with pytest.raises(CourseError, match="without a key"):
        serve(tiny, address=Address("0.0.0.0"), quiet=True)


def test_a_checkpoints_own_code_is_never_run(model_folder, monkeypatch):
    monkeypatch.delenv("COURSE_SERVER_URL", raising=False)
    tiny = ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder))
    with pytest.raises(CourseError, match="was refused"):
        serve(tiny, extra_flags=["--trust_remote_code"], quiet=True)


@pytest.fixture
def foreign():
    """A server that somebody else runs; its answers are set by the test."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = self.server.answers(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.models = ["big-model", "tiny-qwen3-vl"]
        running.answers = lambda path, key: (200, json.dumps({"data": [{"id": name} for name in running.models]}))
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_joining_and_never_stopping(foreign, monkeypatch, model_folder, ending):
    monkeypatch.setenv("COURSE_SERVER_URL", foreign.url + ending)
    tiny = ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder))
    with serve(tiny, quiet=True, may_join=True) as server:
        assert server.joined
        assert server.base_url == f"{foreign.url}/v1"
        assert server.model_name == "tiny-qwen3-vl"
        assert server.is_alive()
        assert (server.pid, server.command, server.log_path) == (None, [], None)
        assert server.startup_seconds is None
        server.check()
        assert server.label == "tiny-qwen3-vl"  # 'tiny model' would be said of whatever model another one serves
    server.stop()
    assert join(foreign.url).is_alive()


@pytest.fixture
def notebook():
    """Runs a cell and returns what it shows."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()

    def run(cell: str) -> str:
        with capture_output() as captured:
            shell.run_cell(cell)
        return captured.stdout + captured.stderr

    run.names = shell.user_ns
    yield run
    InteractiveShell.clear_instance()


ASKING = {
    "openai": "OpenAI(base_url=server.base_url, api_key='-', max_retries=0).models.list()",
    "httpx": "httpx.get(server.root_url + '/health')",
    "httpx, broken off": "raise httpx.ReadError('broken', request=httpx.Request('GET', server.base_url + '/x'))",
}


@pytest.mark.parametrize("client", ASKING)
def test_a_joined_server_that_goes_away_is_one_message(foreign, monkeypatch, model_folder, notebook, client):
    monkeypatch.setenv("COURSE_SERVER_URL", foreign.url)
    notebook.names["active"] = ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder))
    start = "import httpx\nfrom openai import OpenAI\nfrom helpers.server import serve\n"
    assert "joined" in notebook(f"{start}server = serve(active, may_join=True)")
    alive = notebook("raise httpx.ReadError('my own', request=httpx.Request('GET', server.base_url + '/x'))")
    assert "ReadError" in alive and "no longer answers" not in alive
    foreign.shutdown()
    foreign.server_close()
    shown = notebook(ASKING[client])
    assert len(shown.splitlines()) == 3 and "no longer answers" in shown and "ask whoever" in shown
    for other in ("httpx.get('http://127.0.0.1:9/')", "raise httpx.ReadError('no request')", "nonsense"):
        assert "Traceback" in (shown := notebook(other)) and "no longer answers" not in shown


def test_joining_takes_the_first_model_where_the_profiles_is_not_served(foreign):
    foreign.models = ["another"]
    assert join(foreign.url, preferred="tiny-qwen3-vl").model_name == "another"


def test_joining_sends_the_key(foreign, monkeypatch, model_folder):
    given = foreign.answers
    foreign.answers = lambda path, key: given(path, key) if key == "Bearer seat" else (401, "{}")
    with pytest.raises(CourseError, match="refused the key"):
        join(foreign.url)
    monkeypatch.setenv("COURSE_SERVER_URL", foreign.url)
    monkeypatch.setenv("COURSE_SERVER_KEY", "seat")
    tiny = ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder))
    assert serve(tiny, quiet=True, may_join=True).api_key == "seat"
    assert serve(tiny, api_key="a notebook's own", quiet=True, may_join=True).api_key == "seat"


def test_only_who_may_join_does(foreign, monkeypatch, model_folder):
    """A notebook that compares two models would otherwise ask one server twice, and call its answers by two names."""
    monkeypatch.setenv("COURSE_SERVER_URL", foreign.url)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(CourseError, match="without a key was refused"):
        serve(ActiveProfile(load_profiles()["tiny"], "cpu", str(model_folder)), address=Address("0.0.0.0"), quiet=True)


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, "[]"), (200, '{"data": []}'), (500, "{}"), (404, "")])
def test_joining_what_is_no_model_server(foreign, answer):
    foreign.answers = lambda path, key: answer
    with pytest.raises(CourseError) as caught:
        join(foreign.url)
    assert "COURSE_SERVER_URL" in str(caught.value)


def test_joining_where_nobody_answers():
    with reserve_port() as held, pytest.raises(CourseError, match="No server answers"):
        join(f"http://127.0.0.1:{held.getsockname()[1]}")
    with pytest.raises(CourseError, match="No server answers"):
        join("not a url")


def test_the_curl_line_survives_a_shell():
    server = Server(command=[], model_name="tiny", api_key="it's secret", address=Address(port=8085))
    words = shlex.split(server.curl("Write 'no' \"yes\" \\ in reverse; 端", image_url="file:///a b.png"))
    body = json.loads(words[words.index("-d") + 1])
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8085/v1/chat/completions"]
    assert "Authorization: Bearer it's secret" in words
    assert body["messages"][0]["content"][1]["text"] == "Write 'no' \"yes\" \\ in reverse; 端"
    assert body["messages"][0]["content"][0]["image_url"]["url"] == "file:///a b.png"


def test_the_curl_line_asks_no_proxy(monkeypatch):
    server = Server(command=[], model_name="tiny", address=Address(port=8085))
    monkeypatch.delenv("no_proxy", raising=False)
    assert "--noproxy" not in server.curl()
    monkeypatch.setenv("all_proxy", "socks://127.0.0.1:9")
    bypass_proxies()
    assert shlex.split(server.curl())[:3] == ["curl", "--noproxy", "*"]


def test_paths_in_the_shown_command_are_the_courses_own():
    assert shown(COURSE_ROOT / "data" / "models") == "data/models"
    assert shown("/elsewhere/model") == "/elsewhere/model"
