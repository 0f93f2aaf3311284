"""A stand-in for ``vllm serve``: same address arguments, an engine process, no imports worth waiting for.

The variable STANDIN says how it behaves, words separated by commas:
``stubborn`` ignores SIGTERM · ``silent`` never answers · ``crash`` ends with a log of a failure · ``reset`` first
resets connections · ``keeps-on`` stays when its engine dies · ``astray`` puts a grandchild in a session of its own ·
``ignores`` logs which parts of adapters it will ignore.
"""

import http.server
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

MODES = os.environ.get("STANDIN", "").split(",")
FAILURE = """(APIServer pid=1) INFO 01-01 00:00:00 [api_utils.py:286] non-default args: {}
Traceback (most recent call last):
  File "x.py", line 1, in <module>
ValueError: To serve at least one request with the model's max seq len (2048), (0.01 GiB KV cache is needed, which is \
larger than the available KV cache memory (0.0 GiB).
"""
#: As vLLM 0.32.0 writes it for each module of the tower, without --enable-tower-connector-lora.
IGNORED = """(EngineCore pid=1) WARNING 01-01 00:00:00 [model_manager.py:495] Regarding \
Qwen3VLForConditionalGeneration, no matching PunicaWrapper is found; visual.merger.linear_fc1 will be ignored.
"""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": self.server.model}]} if self.path == "/v1/models" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def reset_some(address: tuple[str, int]) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        for _ in range(2):
            connection, _ = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def main() -> None:
    print("(APIServer pid=1) INFO non-default args: {}", flush=True)
    if "crash" in MODES:
        print(FAILURE, flush=True)
        sys.exit(1)
    if "ignores" in MODES:
        print(IGNORED, flush=True)
    if "stubborn" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sleeper = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    ]
    engine = subprocess.Popen(sleeper, start_new_session="astray" in MODES)
    while "silent" in MODES:
        time.sleep(1)
    address = (argument("--host"), int(argument("--port")))
    if "reset" in MODES:
        reset_some(address)
    server = http.server.ThreadingHTTPServer(address, Handler)
    server.model = argument("--served-model-name")
    if "keeps-on" not in MODES:
        threading.Thread(target=lambda: (engine.wait(), os._exit(1)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
