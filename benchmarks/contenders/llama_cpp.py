"""llama.cpp's server on the same weights in float32, if the reader has built it: a folder of llama.cpp's sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders.served import ServerContender
from benchmarks.contenders.worker import Job
from helpers.errors import CourseError
from helpers.files import shown

CONVERTER, SERVER = "convert_hf_to_gguf.py", "llama-server"
SLOTS = 16
#: The converter knows tokenizers by a fingerprint of what they make of a text. The tiny model has a vocabulary of its
#: own and splits text as Qwen2 does, which is what the name in the file is to say.
NAMED_QWEN2 = """
import runpy, sys
folder = sys.argv.pop(1)
sys.path[:0] = [folder + "/gguf-py", folder]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
sys.argv[0] = folder + "/convert_hf_to_gguf.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class LlamaServer(ServerContender):
    """It has `SLOTS` slots."""

    model = "model"

    def __init__(self, job: Job):
        super().__init__(job)
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        converter, server = find_tools(Path(self._job.tools))
        files = self._converted(converter)
        words = [str(server), "--model", str(files[0]), "--mmproj", str(files[1]), "--threads", str(self._job.threads)]
        words += ["--parallel", str(SLOTS), "--ctx-size", str(SLOTS * self._job.max_tokens)]
        self._start(*words, "--jinja", "--cache-ram", "0")
        told = subprocess.run([str(server), "--version"], capture_output=True, text=True, timeout=60, check=False)
        self.notes.append(f"llama.cpp's server says '{(told.stdout + told.stderr).strip().partition(chr(10))[0]}'.")
        self.notes.append(
            "llama.cpp's server is measured without clips: it reads them with the programs ffmpeg and ffprobe, at a "
            "rate of its own, so it would not see the same frames. "
            "Its ignore_eos forbids the tokens that end an answer, while the others "
            "write them and go on: after the model's own end its answers part from theirs, their lengths do not."
        )
        return self

    def fields(self, length: int) -> dict[str, Any]:
        """Its own ends are forbidden, and no prompt is kept."""
        return {"ignore_eos": True, "cache_prompt": False}

    def _converted(self, converter: Path) -> list[Path]:
        """Language model and vision tower as GGUF files, beside the workload."""
        folder = Path(self._job.workload).parent / "gguf"
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "model.gguf", folder / "mmproj.gguf"]
        for path, options in zip(paths, ([], ["--mmproj"]), strict=True):
            words = [self._job.model, "--outtype", "f32", *options, "--outfile", str(path)]
            plain = subprocess.run([sys.executable, str(converter), *words], capture_output=True, text=True)
            if plain.returncode:
                refusal = plain.stderr.strip().splitlines()[-1]
                named = [sys.executable, "-c", NAMED_QWEN2, str(converter.parent), *words]
                second = subprocess.run(named, capture_output=True, text=True)
                if second.returncode:
                    raise CourseError("llama.cpp cannot convert this checkpoint.", second.stderr.strip()[-400:])
                self.notes.append(
                    f"llama.cpp's converter refuses this checkpoint: '{refusal}'. It was told that the tokenizer "
                    "splits text as Qwen2's does, which is so."
                )
        return paths


def find_tools(folder: Path) -> tuple[Path, Path]:
    """Converter and server in a folder of llama.cpp, built there or below.

    Raises:
        CourseError: one of them is not there.
    """
    found = []
    for name, places in ((CONVERTER, ("",)), (SERVER, ("", "bin", "build/bin"))):
        path = next((path for place in places if (path := folder / place / name).is_file()), None)
        if path is None:
            raise CourseError(
                f"{shown(folder)} has no {name}.",
                "another folder, or llama.cpp is not built there",
                "give the folder of llama.cpp's sources, built by: cmake -B build && cmake --build build",
            )
        found.append(path.resolve())
    return found[0], found[1]
