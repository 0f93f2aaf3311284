"""What only a machine with an NVIDIA GPU can show: the same engine and tiny model on another kind of device."""

import base64
import json

import pytest

from helpers.files import COURSE_ROOT
from helpers.profiles import use_profile
from helpers.server import serve
from toolkit.toyworld.items import read_items

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
SCENES = COURSE_ROOT / "data" / "scenes"


def asked_for_json(client, model: str, file) -> dict:
    """What the model says of the picture."""
    picture = f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "Describe this image as JSON."},
    ]
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], temperature=0, max_completion_tokens=256
    )
    return json.loads(answer.choices[0].message.content)


def test_auto_takes_the_gpu():
    assert use_profile("tiny", quiet=True).device == "cuda"


def test_the_tiny_model_sees_on_the_gpu_what_it_sees_on_the_cpu():
    """Place and light, which it nearly always gets right; sums in another order may change a closer call."""
    from openai import OpenAI

    scenes = read_items(SCENES)
    with serve(use_profile("tiny", quiet=True), quiet=True) as server:
        assert ("--dtype", "float32") in zip(server.command, server.command[1:], strict=False)
        client = OpenAI(base_url=server.base_url, api_key=server.api_key, timeout=120, max_retries=0)
        said = [asked_for_json(client, server.model_name, SCENES / scene["media"][0]) for scene in scenes]
    for fact in ("place", "light"):
        right = sum(one[fact] == scene["facts"][fact] for one, scene in zip(said, scenes, strict=True))
        assert right >= 0.9 * len(scenes), (fact, said)
