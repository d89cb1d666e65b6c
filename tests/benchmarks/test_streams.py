"""A benchmark of many followers does not begin without some of them."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks._streams import all_open


def test_waits_until_every_follower_is_there() -> None:
    async def follow(opened: asyncio.Semaphore, after: float) -> None:
        await asyncio.sleep(after)
        opened.release()
        await asyncio.sleep(60)

    async def main() -> None:
        opened = asyncio.Semaphore(0)
        followers = [asyncio.create_task(follow(opened, delay)) for delay in (0.0, 0.01, 0.02)]
        await all_open(opened, followers)
        assert not any(follower.done() for follower in followers)
        for follower in followers:
            follower.cancel()

    asyncio.run(main())


def test_tells_of_a_follower_that_is_refused() -> None:
    async def follow(opened: asyncio.Semaphore, number: int) -> None:
        if number == 1:
            raise ConnectionError("429")
        opened.release()
        await asyncio.sleep(60)

    async def main() -> None:
        opened = asyncio.Semaphore(0)
        await all_open(opened, [asyncio.create_task(follow(opened, number)) for number in range(3)])

    with pytest.raises(ConnectionError, match="429"):
        asyncio.run(main())
