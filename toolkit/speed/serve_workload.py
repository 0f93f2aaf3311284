"""``vllm bench serve`` about requests of our own: ``python -m toolkit.speed.serve_workload --workload FOLDER ...``.

The tool's own datasets know no videos and no answer length per request. Its measuring code takes requests with
ready-made messages, though (``SampleRequest.chat_messages``), so only the reading of the dataset is replaced here; what
sends, times and counts is the tool's. All other options are those of ``vllm bench serve``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def main(words: list[str] | None = None) -> None:
    """Run the tool on the requests of a folder that `toolkit.speed.workload.write_workload` wrote."""
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from toolkit.toyworld.items import stream_items

    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    parser.add_argument("--workload", required=True, type=Path)
    args = parser.parse_args(words)
    # Every request asks for its own number of tokens, and must get them.
    args.dataset_name, args.ignore_eos = "custom", True
    serve.get_samples = lambda _args, _tokenizer, **_: sample_requests(args.workload, args.request_id_prefix)
    args.num_prompts = sum(1 for _ in stream_items(args.workload))
    serve.main(args)


def sample_requests(folder: Path, prefix: str = "") -> list[Any]:
    """A workload's requests as the tool wants them, media as data URLs. Its prompt lengths come from the server."""
    from vllm.benchmarks.datasets import SampleRequest

    from toolkit.speed.workload import ready_messages
    from toolkit.toyworld.items import stream_items

    return [
        SampleRequest(
            prompt="",
            prompt_len=1,
            expected_output_len=record["answer_tokens"],
            request_id=f"{prefix}{number}",
            chat_messages=ready_messages(folder, record),
        )
        for number, record in enumerate(stream_items(folder))
    ]


if __name__ == "__main__":
    main()
