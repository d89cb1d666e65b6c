"""Many streams that are followed at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


async def all_open(opened: asyncio.Semaphore, followers: Sequence[asyncio.Task[None]]) -> None:
    """Until every follower has released `opened`; raises what one of them raised before, which then never would."""

    async def count() -> None:
        for _ in followers:
            await opened.acquire()

    everyone = asyncio.create_task(count())
    done, _ = await asyncio.wait([everyone, *followers], return_when=asyncio.FIRST_COMPLETED)
    everyone.cancel()
    for each in done:
        each.result()
