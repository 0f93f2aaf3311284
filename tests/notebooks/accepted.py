"""What the installed vLLM, openai and hub libraries accept, told by themselves.

``python -m tests.notebooks.accepted`` prints it as JSON. It runs in a process of its own, since importing vLLM takes
half a minute and its parsers look at ``sys.argv``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import sys

#: What notebooks call, as they write it (without the name of the module), and where it is defined.
#: A name with a dot is a method: 'llm.chat' stands for any call that ends so.
CALLABLES = {
    "LLM": ["vllm:LLM"],
    "SamplingParams": ["vllm:SamplingParams"],
    "StructuredOutputsParams": ["vllm.sampling_params:StructuredOutputsParams"],
    "llm.chat": ["vllm:LLM.chat"],
    "llm.generate": ["vllm:LLM.generate"],
    "OpenAI": ["openai:OpenAI"],
    "AsyncOpenAI": ["openai:AsyncOpenAI"],
    "client.with_options": ["openai:OpenAI.with_options"],
    "chat.completions.create": ["openai.resources.chat.completions:Completions.create"],
    "chat.completions.parse": ["openai.resources.chat.completions:Completions.parse"],
    "chat.completions.stream": ["openai.resources.chat.completions:Completions.stream"],
    "client.responses.create": ["openai.resources.responses:Responses.create"],
    "client.models.list": ["openai.resources.models:Models.list"],
    # Both hubs have one; a notebook's import says which.
    "huggingface_hub.snapshot_download": ["huggingface_hub:snapshot_download"],
    "modelscope.snapshot_download": ["modelscope:snapshot_download"],
    "huggingface_hub.hf_hub_download": ["huggingface_hub:hf_hub_download"],
    "process_vision_info": ["qwen_vl_utils:process_vision_info"],
}


def keywords(target: str) -> list[str] | None:
    """Keywords that a callable 'module:qualified.name' accepts, or None if it accepts any.

    Raises:
        ImportError, AttributeError: it does not exist.
    """
    module, _, path = target.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    parameters = inspect.signature(found).parameters.values()
    names = [item.name for item in parameters if item.kind in (item.KEYWORD_ONLY, item.POSITIONAL_OR_KEYWORD)]
    if any(item.kind is item.VAR_KEYWORD for item in parameters):
        if target != "vllm:LLM":
            return None
        from vllm.engine.arg_utils import EngineArgs

        names += [field.name for field in dataclasses.fields(EngineArgs)]  # where LLM's **kwargs go
    return sorted({name for name in names if name != "self" and not name.startswith("_")})


def flags(parser) -> list[str]:
    """All option strings of a parser."""
    return sorted({option for action in parser._actions for option in action.option_strings})


def everything() -> dict:
    """Flags by command, keywords by callable, fields of a chat request, environment variables of vLLM."""
    import vllm.envs
    from vllm.entrypoints.cli.benchmark.base import BenchmarkSubcommandBase
    from vllm.entrypoints.cli.benchmark.main import _import_bench_subcommand_modules
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    commands = {"serve": flags(make_arg_parser(FlexibleArgumentParser()))}
    _import_bench_subcommand_modules()
    for command in BenchmarkSubcommandBase.__subclasses__():
        parser = FlexibleArgumentParser()
        command.add_cli_args(parser)
        commands[f"bench {command.name}"] = flags(parser)
    calls, absent = {}, {}
    for name, targets in CALLABLES.items():
        for target in targets:
            try:
                calls[name] = keywords(target)
            except (ImportError, AttributeError) as error:
                absent[name] = str(error).splitlines()[0]
    return {
        "flags": commands,
        "keywords": calls,
        "absent": absent,
        "request": sorted(ChatCompletionRequest.model_fields),
        "environment": sorted(vllm.envs.environment_variables),
    }


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    printed = sys.stdout
    sys.stdout = sys.stderr  # libraries may print while they are imported
    found = everything()
    json.dump(found, printed)
