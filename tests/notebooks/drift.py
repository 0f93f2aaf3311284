"""Finds flags, keywords and variables in a notebook that the installed versions no longer accept.

What is accepted comes from ``accepted.py``; what is used is read from the code's syntax tree and from the commands in
fenced blocks of prose. Inline mentions such as ``--rope-scaling`` in a sentence are not commands, and stay free.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator

from nbformat import NotebookNode

from tests.notebooks.gates import as_python, code_cells, fenced_blocks, tags_of

#: A code cell with this tag shows flags that are gone, on purpose.
REMOVED_FLAGS_TAG = "removed-flags"
_FLAG = re.compile(r"--[a-zA-Z][\w.-]*(=.*)?", re.DOTALL)
_VARIABLE = re.compile(r"VLLM_[A-Z0-9_]+")


def findings_in(notebook: NotebookNode, accepted: dict) -> list[str]:
    """All findings in a notebook, each with its cell (counted from 0, all kinds of cells) and the name."""
    findings = []
    origins = _imports(notebook)
    for place, cell in enumerate(notebook.cells):
        texts = fenced_blocks(cell.source) if cell.cell_type == "markdown" else [_shell_part(cell.source)]
        found = [finding for text in texts for finding in in_shell(text, accepted)]
        if cell.cell_type == "code" and REMOVED_FLAGS_TAG not in tags_of(cell):
            found += in_code(cell.source, accepted, origins)
        findings += [f"cell {place}: {finding}" for finding in dict.fromkeys(found)]
    return findings


def _imports(notebook: NotebookNode) -> dict[str, str]:
    """Local name → 'module.name' for everything that the notebook imports by name."""
    origins = {}
    for _, cell in code_cells(notebook):
        for node in _nodes(cell.source):
            if isinstance(node, ast.ImportFrom):
                origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return origins


def _nodes(source: str) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(ast.parse(as_python(source)))
    except SyntaxError:  # told by another gate
        return


def _shell_part(source: str) -> str:
    """The lines of a code cell that a shell runs."""
    if re.match(r"%%(bash|sh|script)\b", source):
        return source.partition("\n")[2]
    return "\n".join(line.strip()[1:] for line in source.splitlines() if line.strip().startswith("!"))


def in_shell(text: str, accepted: dict) -> list[str]:
    """Findings in commands of a shell: flags of ``vllm serve`` and ``vllm bench``, and ``VLLM_`` variables."""
    findings = []
    for line in re.sub(r"\\\s*\n", " ", text).splitlines():
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # an apostrophe in a line of output is not a command
            continue
        findings += in_words(words, accepted)
        names = [match for word in words if (match := re.match(r"(VLLM_[A-Z0-9_]+)=", word))]
        findings += _variables([match[1] for match in names], accepted)
    return findings


def in_words(words: list[str], accepted: dict) -> list[str]:
    """Findings in one command, given as its words; [] if it is no command of vLLM."""
    command, rest = _command(words)
    if command is None:
        return []
    if command not in accepted["flags"]:
        return [f"there is no command 'vllm {command}' any more"]
    return _unknown_flags(command, [word for word in rest if _FLAG.fullmatch(word)], accepted)


def _unknown_flags(command: str, flags: list[str], accepted: dict) -> list[str]:
    unknown = [flag.split("=")[0] for flag in flags if not known_flag(flag, accepted["flags"][command])]
    return [f"vllm {command} does not accept {name}" for name in unknown]


def _command(words: list[str]) -> tuple[str | None, list[str]]:
    """('serve' or 'bench x', the words after it), or (None, []) if that is not what the words say."""
    for place, word in enumerate(words):
        if word.rsplit("/", 1)[-1] == "vllm" and words[place + 1 : place + 2] == ["serve"]:
            return "serve", _until_pipe(words[place + 2 :])
        if word.rsplit("/", 1)[-1] == "vllm" and words[place + 1 : place + 2] == ["bench"] and len(words) > place + 2:
            return f"bench {words[place + 2]}", _until_pipe(words[place + 3 :])
        if word == "vllm.entrypoints.openai.api_server":
            return "serve", _until_pipe(words[place + 1 :])
    return None, []


def _until_pipe(words: list[str]) -> list[str]:
    ends = [place for place, word in enumerate(words) if word in ("|", "&&", ";", "||", ">", "2>&1")]
    return words[: ends[0]] if ends else words


def known_flag(flag: str, known: list[str]) -> bool:
    """True if vLLM's parser takes the flag: underscores count as dashes, and ``--a.b`` as ``--a``."""
    name = flag.split("=")[0].split(".")[0].replace("_", "-")
    return name in known


def in_code(source: str, accepted: dict, origins: dict[str, str] | None = None) -> list[str]:
    """Findings in Python: keywords of known calls, flags in strings and lists, ``VLLM_`` variables."""
    findings, in_commands = [], set()
    nodes = list(_nodes(source))
    for node in nodes:
        if isinstance(node, ast.Call):
            findings += _in_call(node, accepted, origins or {})
        if isinstance(node, ast.List | ast.Tuple):
            words = [part.value if _is_text(part) else "<expression>" for part in node.elts]
            if _command(words)[0]:
                findings += in_words(words, accepted)
            if any(not _FLAG.fullmatch(word) for word in words[:1]) and any(_FLAG.fullmatch(word) for word in words):
                in_commands |= {
                    id(part) for part in node.elts
                }  # a command line of its own, vLLM's or another program's
    for node in nodes:
        if not _is_text(node):
            continue
        findings += _variables([node.value] if _VARIABLE.fullmatch(node.value) else [], accepted)
        if re.search(r"\bvllm (serve|bench)\b", node.value):
            findings += in_shell(node.value, accepted)
        elif _FLAG.fullmatch(node.value) and id(node) not in in_commands:
            findings += _unknown_flags("serve", [node.value], accepted)
    return findings


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _variables(names: list[str], accepted: dict) -> list[str]:
    return [f"vLLM does not read the variable {name}" for name in names if name not in accepted["environment"]]


def _in_call(call: ast.Call, accepted: dict, origins: dict[str, str]) -> list[str]:
    name = _known_call(ast.unparse(call.func), accepted, origins)
    if name is None:
        return []
    if name in accepted["absent"]:
        return [f"{name} is not there: {accepted['absent'][name]}"]
    known = accepted["keywords"][name]
    findings = []
    for keyword in call.keywords:
        if keyword.arg and known is not None and keyword.arg not in known:
            findings.append(f"{name} does not accept {keyword.arg}")
        if keyword.arg == "extra_body" and isinstance(keyword.value, ast.Dict):
            fields = [key.value for key in keyword.value.keys if key is not None and _is_text(key)]
            findings += [f"a chat request has no field {field}" for field in fields if field not in accepted["request"]]
    return findings


def _known_call(written: str, accepted: dict, origins: dict[str, str]) -> str | None:
    """The name in ``accepted`` that a call stands for: 'client.chat.completions.create' → 'chat.completions.create'."""
    first, _, rest = written.partition(".")
    full = origins.get(first, first) + ("." + rest if rest else "")
    for name in [*accepted["keywords"], *accepted["absent"]]:
        if full == name or full.endswith("." + name) or ("." in name and _same_module(full, name)):
            return name
        # 'async_client.chat...' and 'engine.chat' are known by their last parts only where these are telling
        if name.startswith("client.") and full.endswith(name.removeprefix("client")) and "client" in first:
            return name
    return None


def _same_module(full: str, name: str) -> bool:
    """'modelscope.hub.snapshot_download.snapshot_download' is 'modelscope.snapshot_download'."""
    module, _, function = name.rpartition(".")
    return full.startswith(module + ".") and full.endswith("." + function)


def in_profiles(raw: dict, accepted: dict) -> list[str]:
    """Findings in ``data/profiles.yaml``: engine keywords (also as flags), sampling keywords, variables."""
    findings = []
    for profile, fields in raw["profiles"].items():
        for key in ("engine", "cpu_engine", "cuda_engine"):
            for name in fields.get(key) or {}:
                if name not in accepted["keywords"]["LLM"]:
                    findings.append(f"profile {profile}, {key}: LLM does not accept {name}")
                if not known_flag("--" + name, accepted["flags"]["serve"]):
                    findings.append(f"profile {profile}, {key}: vllm serve does not accept --{name.replace('_', '-')}")
        for name in fields.get("sampling") or {}:
            if name not in accepted["keywords"]["SamplingParams"]:
                findings.append(f"profile {profile}, sampling: SamplingParams does not accept {name}")
        for key in ("environment", "cpu_environment"):
            names = [name for name in fields.get(key) or {} if name.startswith("VLLM_")]
            findings += [f"profile {profile}, {key}: {finding}" for finding in _variables(names, accepted)]
    return findings
