"""A notebook's engines and servers, recorded: its cells run with recorders in their place, and nothing is started.

Only cells that start or end something run. What they import from elsewhere, and names of other cells, is `Anything`.
"""

import ast
import asyncio
import builtins
import contextlib
import json
import re
from dataclasses import dataclass
from types import SimpleNamespace

from helpers.profiles import ActiveProfile, as_flags

#: Modules that cells get as they are; all others are recorders or `Anything`.
REAL = {"ast", "contextlib", "dataclasses", "json", "os", "transformers"}
#: A cell runs if it matches: it starts or ends something, or prepares a command for that.
MATTERS = re.compile(
    r"\bLLM\(|engine_arguments\(\)|\bserve\(|one_engine|\.stop\(\)|shutdown\(\)|Popen|terminate\(\)|map_batches|\bDescriber\b|\"course\"|\bcourse\("
    r'|"vllm", "serve"'
)
STARTERS = {"LLM", "serve", "one_engine", "Popen", "map_batches"}


@dataclass
class Started:
    """One engine, by the keywords of ``vllm.LLM`` that it has; a server has one, too."""

    cell: str
    active: ActiveProfile
    arguments: dict
    beside: list["Started"]
    """What was running when it started."""


class Anything:
    """Stands for what other cells made: any use of it works, and means nothing."""

    def __init__(self, **given):
        vars(self).update(given)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return vars(self).setdefault(name, Anything())

    def __call__(self, *values, **named):
        return Anything()

    def __iter__(self):
        return iter([Anything(), Anything()])  # as many as cells unpack

    def __len__(self):
        return 2

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __await__(self):
        yield from ()
        return self

    def __format__(self, spec):
        return "anything"

    def __index__(self):
        return 1

    def __setitem__(self, key, value):
        pass

    def __delitem__(self, key):
        pass

    __getitem__ = __call__


for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "or", "and"]:
    for _side in ("", "r"):
        setattr(Anything, f"__{_side}{_name}__", Anything.__call__)
for _name in ("lt", "le", "gt", "ge", "contains"):
    setattr(Anything, f"__{_name}__", lambda *_: True)


class Server(Anything):
    """A server that ends when it is stopped, or its block is left."""

    def __exit__(self, *error):
        self.stop()


class Cells(dict):
    """A notebook's names; one that no executed cell made is `Anything`."""

    def __missing__(self, name):
        return self.setdefault(name, Anything()) if not hasattr(builtins, name) else getattr(builtins, name)


class Recorder:
    """Executes a notebook for a profile as if its engines started.

    Args:
        notebook: as nbformat reads it.
        active: the profile, on a device; its model's folder needs a configuration, no weights.
        profiles: those that cells ask for by name, `active` among them.
        parameters: in place of the notebook's own.
    """

    def __init__(self, notebook, active, profiles, **parameters):
        self.notebook, self.active, self.profiles, self.parameters = notebook, active, profiles, parameters
        self.started, self.live, self.cell = [], [], ""
        rival = profiles.get(active.profile.rival, active)
        self.names = Cells(
            __builtins__={**vars(builtins), "__import__": self.import_},
            __name__="__main__",
            print=lambda *words, **how: None,
            LLM=self.engine,
            serve=self.serve,
            active=active,
            thinker=profiles.get(f"{active.profile.name}-thinking", active),
            newer=active,
            older=rival,
            models={one.profile.family: one for one in (active, rival)},
            use_profile=lambda name, **_: active if name == "auto" else profiles[name],
            as_flags=as_flags,
        )
        data = Anything(from_items=lambda *_, **__: SimpleNamespace(map_batches=self.map_batches))
        pipes = {name: name for name in ("PIPE", "STDOUT", "DEVNULL")}
        self.modules = {
            "vllm": Anything(LLM=self.engine),
            "helpers.server": Anything(serve=self.serve),
            "toolkit.batch": Anything(local_ray=lambda **_: self.lent(SimpleNamespace(data=data))),
            "subprocess": Anything(Popen=self.popen, run=self.run_program, **pipes),
        }

    def run(self):
        """Execute what matters; returns what was started."""
        asyncio.run(self._run())
        return self.started

    async def _run(self):
        for cell in self.notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                exec(cell.source, self.names)
                self.names.update(self.parameters)
            elif cell.cell_type == "code" and MATTERS.search(cell.source):
                self.cell = cell.id
                code = compile(cell.source, cell.id, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                if waiting := eval(code, self.names):
                    await waiting

    def import_(self, name, *rest):
        if name in self.modules:
            return self.modules[name]
        return builtins.__import__(name, *rest) if name.partition(".")[0] in REAL else Anything()

    def start(self, active, arguments):
        json.dumps(arguments)  # a value that comes from `Anything` would prove nothing
        self.started.append(Started(self.cell, active, arguments, list(self.live)))
        self.live.append(self.started[-1])
        return self.started[-1]

    def end(self, started):
        if started in self.live:
            self.live.remove(started)

    @contextlib.contextmanager
    def lent(self, thing):
        before = list(self.live)
        yield thing
        self.live[:] = before

    def engine(self, **arguments):
        owner = [one for one in self.profiles.values() if one.model_path == arguments["model"]]
        started, llm = self.start(owner[0] if owner else self.active, arguments), Anything()
        llm.llm_engine.engine_core.shutdown = lambda *_: self.end(started)
        return llm

    def server(self, active, flags):
        started = self.start(active, as_keywords([word for word in flags if isinstance(word, str)]))
        return Server(**dict.fromkeys(("stop", "terminate"), lambda: self.end(started)))

    def serve(self, active, *, extra_flags=(), **_):
        return self.server(active, [*active.serve_flags(), *extra_flags])

    def popen(self, command, **_):
        assert "serve" in command, command
        return self.server(self.active, command)

    def run_program(self, command, **_):
        words = [word for word in command if isinstance(word, str)]
        if "batch" in words or {"evaluate", "run"} <= set(words):  # it starts what the profile says, and ends it
            active = self.profiles[words[words.index("--profile") + 1]]
            self.end(self.start(active, active.engine_arguments()))
        return Anything()

    def map_batches(self, actor, *, fn_constructor_args, **_):
        actor(*fn_constructor_args)
        return SimpleNamespace(take_all=list)


def as_keywords(flags):
    """Flags of ``vllm serve`` as keywords of ``vllm.LLM``; the last of a kind counts."""
    found = {}
    for flag, value in zip(flags, [*flags[1:], "--"], strict=True):
        if flag.startswith("--"):
            given = not flag.startswith("--no-") if value.startswith("--") else value
            with contextlib.suppress(ValueError, TypeError):
                given = json.loads(given)
            found[flag.removeprefix("--").removeprefix("no-").replace("-", "_")] = given
    return found


def starting_cells(notebook):
    """Ids of cells that call a starter, other than inside a function or a class."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and MATTERS.search(cell.source):
            tree = ast.parse(cell.source)
            tree.body = [one for one in tree.body if not isinstance(one, ast.FunctionDef | ast.ClassDef)]
            calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
            names = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
            handed = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            if (names | handed) & STARTERS:
                found.append(cell.id)
    return found
