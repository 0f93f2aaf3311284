"""The program that servers run: vLLM's own, without an import that takes long."""

import subprocess
import sys

from helpers.machine import installed_version

ENGINE = """
from multiprocessing import spawn
spawn._fixup_main_from_name("helpers.vllm_program")  # what a spawned process does first
from transformers.utils import is_sklearn_available
print("sklearn:", is_sklearn_available())
"""


def said(*words):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout


def test_it_is_vllm():
    assert said("-m", "helpers.vllm_program", "--version").strip() == installed_version("vllm")


def test_a_spawned_engine_does_without_scikit_learn_too():
    assert said("-c", ENGINE) == "sklearn: False\n"
