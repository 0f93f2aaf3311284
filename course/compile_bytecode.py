"""Compile what an engine's start imports to bytecode, on all cores; set-up runs it with the environment's Python.

Without it the first start compiles file by file, which takes about twice as long. The rest of the environment
(28,000 files) would take longer than it ever saves.
"""

import compileall
import re
import sysconfig
from pathlib import Path

PACKAGES = """
    torch torchvision torchgen functorch vllm transformers sympy mpmath networkx numpy openai pydantic huggingface_hub
    tokenizers safetensors fastapi starlette uvicorn aiohttp requests urllib3 httpx httpcore httpx2 httpcore2 anyio h11
    idna jinja2 PIL xgrammar yaml regex psutil prometheus_client tvm_ffi charset_normalizer packaging filelock dill attr
    pydantic_core setuptools opentelemetry mcp tqdm zmq tornado msgspec einops python_multipart cachetools cloudpickle
    lark yarl jsonschema referencing compressed_tensors mistral_common interegular IPython ipykernel
    jupyter_client traitlets
"""
#: Files of these packages that a Qwen-VL engine never imports.
SKIPPED = (
    r"/(tests?|_vendor)/|/torch/testing/_internal/(?!logging|common_dtype)|/torch/(utils/benchmark|distributed/pipelining)/"
    r"|/sympy/(physics|combinatorics|stats|parsing|plotting|geometry|diffgeom|liealgebras|crypto|categories|holonomic)/"
    r"|/transformers/(pipelines|exporters|quantizers)/|/transformers/models/(?!__init__|auto|qwen[23]_vl|qwen2_5_vl)"
    r"|/vllm/(benchmarks|lora)/|/vllm/models/(?!__init__|deepseek_v4/)"
    r"|/vllm/model_executor/models/(?!__init__|qwen[23]|qwen2_5_vl|interfaces|registry|utils|vision|module|adapters|conf)"
    r"|/vllm/transformers_utils/(configs|processors)/(?!__init__)|/vllm/tool_parsers/(?!__init__|abstract|utils)"
    r"|/openai/types/(beta|admin|realtime)|/openai/(cli|resources)/|/huggingface_hub/cli/|/pydantic/v1/"
    r"|/numpy/(distutils|f2py|polynomial)/|/IPython/(sphinxext|extensions)"
)

if __name__ == "__main__":
    for folder in map(Path(sysconfig.get_paths()["purelib"]).joinpath, PACKAGES.split()):
        if folder.is_dir():
            compileall.compile_dir(folder, quiet=2, workers=0, rx=re.compile(SKIPPED), maxlevels=30)
