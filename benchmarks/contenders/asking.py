"""Requests to a server that speaks the OpenAI API, a number of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders.worker import Reply
from toolkit.speed.workload import ready_messages

#: A sequential server lets the last of 300 requests wait for all others.
TIMEOUT_SECONDS = 3600.0


def ask_all(
    base_url: str,
    model: str,
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    concurrency: int,
    extra: Callable[[int], Mapping[str, Any]],
    api_key: str = "EMPTY",
) -> list[Reply]:
    """Ask all of them, media as data URLs, greedily; answers in the order of the records.

    Args:
        base_url: with ``/v1``.
        model: name that the server knows.
        folder: of the media.
        records: requests.
        concurrency: at most so many at a time, the next one as soon as one ends.
        extra: further fields of a request for an answer of so many tokens.
        api_key: of the server.
    """
    import httpx
    from openai import AsyncOpenAI

    async def all_of_them() -> list[Reply]:
        places = asyncio.Semaphore(concurrency)
        limits = httpx.Limits(max_connections=concurrency)
        web = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS, limits=limits)
        async with AsyncOpenAI(base_url=base_url, api_key=api_key, http_client=web, max_retries=0) as client:

            async def one(record: Mapping[str, Any]) -> Reply:
                async with places:
                    length = record["answer_tokens"]
                    answer = await client.chat.completions.create(
                        model=model,
                        messages=ready_messages(folder, record),
                        temperature=0,
                        max_tokens=length,
                        extra_body=dict(extra(length)),
                    )
                choice = answer.choices[0]
                ids = getattr(choice, "token_ids", None)
                return Reply(answer.usage.completion_tokens, tuple(ids) if ids else None, choice.message.content or "")

            return list(await asyncio.gather(*map(one, records)))

    return asyncio.run(all_of_them())
