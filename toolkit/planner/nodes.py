"""One model on several machines: what is typed on each of them.

Two questions, two answers. More requests than one machine can take: copies of the model, which vLLM's first machine
hands requests to (`Cluster.data_parallel`). A model that is larger than one machine: its layers or its heads are
spread over machines (`Cluster.multi_node`), by vLLM's own launcher or by Ray.

vLLM's ports between the machines ask for no key, and what arrives there is trusted (pickled objects): whoever reaches
them runs code there. Ray's ask for a token where one is set, but encrypt nothing. So addresses must be private, and the
network must be closed to others.
Nothing of this was run on several machines by this course; the installed vLLM's parser takes all of it.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts
from toolkit.planner.parallel import Layout
from toolkit.planner.recipes import LOCALHOST, PORT, Launch, format_of, in_lines

#: vLLM's defaults (``ParallelConfig``), by which machines find the first one. It takes further ports at random, so the
#: machines must reach each other on all of them.
RPC_PORT, MASTER_PORT = 29550, 29501
RAY_PORT = 6379
SECURITY = (
    "vLLM's ports between the machines have no authentication: whoever reaches them can run code there. "
    "Use a network of their own, closed to everybody else; only the first machine's API has a key."
)
#: Flags that this module sets.
_OWN = {
    "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp",
    "--data-parallel-size-local", "-dpl", "--data-parallel-start-rank", "-dpr", "--data-parallel-address", "-dpa",
    "--data-parallel-rpc-port", "-dpp", "--enable-expert-parallel", "-ep", "--mm-encoder-tp-mode", "--headless",
    "--nnodes", "-n", "--node-rank", "-r", "--master-addr", "--master-port", "--distributed-executor-backend",
    "--host", "--port", "--api-key",
}  # fmt: skip


@dataclass(frozen=True)
class NodeCommands:
    """What is typed on one machine, in this order."""

    role: Literal["head", "worker"]
    """Requests come to the head."""
    address: str
    commands: tuple[tuple[str, ...], ...]
    """Each as the arguments of a process."""
    environment: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    @property
    def serve(self) -> Launch | None:
        """The ``vllm serve`` among the commands, to be checked by `toolkit.planner.flags.check_launches`."""
        for words in self.commands:
            if words[:2] == ("vllm", "serve"):
                return Launch(words[2], words[3:], dict(self.environment))
        return None

    def shell(self) -> str:
        """For a terminal on that machine."""
        lines = [f"# {self.role}, {self.address}: {self.why}"]
        if self.role == "head":
            lines.append('export VLLM_API_KEY="$(openssl rand -hex 32)"  # clients send it')
        if any(words[0] == "ray" for words in self.commands):
            made = '"$(openssl rand -hex 32)"' if self.role == "head" else "..."
            lines.append(f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN={made}  # the same on all machines")
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "\n".join([*lines, *(in_lines(words) for words in self.commands)])


@dataclass(frozen=True)
class Cluster:
    """Machines with the same number of the same GPUs.

    Raises:
        CourseError: fewer than one card or machine, one machine twice, or an address that is not private.
    """

    addresses: tuple[str, ...]
    """IPv4 addresses in the network between them; requests come to the first machine."""
    gpus_each: int

    def __post_init__(self) -> None:
        if self.gpus_each < 1 or not self.addresses:
            raise CourseError("A cluster needs a machine with a card.", "", "give addresses, and 1 or more cards each")
        if len(set(self.addresses)) < len(self.addresses):
            raise CourseError("An address is there twice.", "", "give each machine's own")
        for text in self.addresses:
            try:
                address = ipaddress.IPv4Address(text)
            except ValueError:
                raise CourseError(f"'{text}' is no IPv4 address.", "", "give one like 10.0.0.1") from None
            if not address.is_private or address.is_unspecified:
                raise CourseError(f"{text} was refused.", "it is no private address", SECURITY)

    @property
    def head(self) -> str:
        """Address of the first machine."""
        return self.addresses[0]

    def data_parallel(
        self,
        launch: Launch | str,
        facts: ModelFacts | None = None,
        copy: Layout | None = None,
        port: int = RPC_PORT,
    ) -> list[NodeCommands]:
        """Copies of a model on all GPUs, behind one address, by vLLM's own launcher.

        The first machine spreads requests over all copies (vLLM's internal load balancing); the others run headless. A
        single machine needs one flag.

        Args:
            launch: checkpoint, flags and environment, with none of the flags that spread it; or the checkpoint alone.
            facts: of the model; None: those of the checkpoint's name.
            copy: GPUs of one copy, in one machine; None: one GPU. With expert parallel, copies share out their experts.
            port: of the first machine, through which the others join.

        Raises:
            CourseError: a copy that does not fill the machines evenly or that vLLM refuses; a flag that is set here.
        """
        launch, copy = _as_launch(launch), copy or Layout()
        local, rest = divmod(self.gpus_each, copy.tensor_parallel * copy.pipeline_parallel)
        if copy.data_parallel > 1 or rest or not local:
            raise CourseError(
                f"Copies of {copy.describe()} do not fill machines with {self.gpus_each} cards.", "",
                "choose one whose number of cards divides a machine's; data_parallel is computed",
            )  # fmt: skip
        shared = _flags(launch, facts, replace(copy, data_parallel=local * len(self.addresses)))
        if len(self.addresses) == 1:
            why = f"{local} copies, one API; vLLM hands each request to the copy with the shortest queue"
            return [_node(launch, self.head, shared, why, head=True)]
        shared += ["--data-parallel-size-local", str(local), "--data-parallel-address", self.head]
        shared += ["--data-parallel-rpc-port", str(port)]
        why = f"copies 0 to {local - 1}, the API and the distribution of requests"
        nodes = [_node(launch, self.head, shared, why, head=True)]
        for number, address in enumerate(self.addresses[1:], start=1):
            begin = number * local
            flags = [*shared, "--data-parallel-start-rank", str(begin), "--headless"]
            why = f"copies {begin} to {begin + local - 1}, no API; it joins {self.head}:{port}"
            nodes.append(_node(launch, address, flags, why))
        return nodes

    def multi_node(
        self,
        launch: Launch | str,
        facts: ModelFacts | None = None,
        layout: Layout | None = None,
        launcher: str = "vllm",
        port: int | None = None,
    ) -> list[NodeCommands]:
        """One copy of a model over all GPUs of two or more machines.

        Args:
            layout: None: tensor parallel in a machine, where GPUs are joined fast, and pipeline parallel between
                machines, which send each other one layer's output only.
            launcher: 'vllm': one ``vllm serve`` on each machine (``--nnodes``). 'ray': a Ray cluster first, then one
                ``vllm serve`` on the first machine.
            port: of the first machine, through which the others join; None: vLLM's or Ray's default.

        Raises:
            CourseError: one machine, a layout that does not take all GPUs, or as `data_parallel`.
        """
        machines = len(self.addresses)
        if machines < 2:
            raise CourseError("One machine needs no cluster.", "", "use toolkit.planner.recommend for it")
        launch = _as_launch(launch)
        layout = layout or Layout(tensor_parallel=self.gpus_each, pipeline_parallel=machines)
        if layout.data_parallel > 1 or layout.gpus != machines * self.gpus_each:
            raise CourseError(
                f"{layout.describe()} takes {layout.gpus} cards, and {machines * self.gpus_each} are there.",
                "", "spread one copy over all of them; for copies, use Cluster.data_parallel",
            )  # fmt: skip
        flags = _flags(launch, facts, layout)
        if launcher == "ray":
            return _ray_commands(launch, self, flags, port or RAY_PORT)
        if launcher != "vllm":
            raise CourseError(f"There is no launcher '{launcher}'.", "", "use vllm or ray")
        port = port or MASTER_PORT
        flags += ["--nnodes", str(machines), "--master-addr", self.head, "--master-port", str(port)]
        why = f"the API, the scheduler and its GPUs; {SECURITY}"
        nodes = [_node(launch, self.head, [*flags, "--node-rank", "0"], why, head=True)]
        for rank, address in enumerate(self.addresses[1:], start=1):
            why = f"its GPUs only: no API, no scheduler; it joins {self.head}:{port}"
            nodes.append(_node(launch, address, [*flags, "--node-rank", str(rank), "--headless"], why))
        return nodes


def _ray_commands(launch: Launch, cluster: Cluster, flags: list[str], port: int) -> list[NodeCommands]:
    quiet = ["--disable-usage-stats"]
    begin = ("ray", "start", "--head", f"--node-ip-address={cluster.head}", f"--port={port}", *quiet)
    begin += ("--include-dashboard=false",)
    why = f"the second command when `ray status` shows all machines; {SECURITY}"
    head = _node(launch, cluster.head, [*flags, "--distributed-executor-backend", "ray"], why, head=True)
    nodes = [replace(head, commands=(begin, *head.commands))]
    for address in cluster.addresses[1:]:
        join = ("ray", "start", f"--address={cluster.head}:{port}", f"--node-ip-address={address}", *quiet)
        why = "after the head's first command; Ray starts vLLM's workers here. `ray stop` ends it"
        nodes.append(replace(_node(launch, address, [], why), commands=(join,)))
    return nodes


def _node(launch: Launch, address: str, flags: Sequence[str], why: str, *, head: bool = False) -> NodeCommands:
    listen = ("--host", LOCALHOST, "--port", str(PORT)) if head else ()
    words = ("vllm", "serve", launch.checkpoint, *listen, *flags)
    environment = {**launch.environment, "VLLM_HOST_IP": address}
    return NodeCommands("head" if head else "worker", address, (words,), environment, why)


def _as_launch(launch: Launch | str) -> Launch:
    return Launch(launch) if isinstance(launch, str) else launch


def _flags(launch: Launch, facts: ModelFacts | None, layout: Layout) -> list[str]:
    names = [word.split("=")[0] for word in launch.flags]
    if twice := [name for name in names if name in _OWN]:
        raise CourseError(f"'{twice[0]}' is set by the layout.", "", "leave it out of the launch's flags")
    if problems := layout.problems(facts or launch.checkpoint, format_of(launch.checkpoint)):
        raise CourseError(f"vLLM would refuse {layout.describe()}: {problems[0]}.", "", "choose another layout")
    return [*launch.flags, *layout.flags()]
