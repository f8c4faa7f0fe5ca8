"""The line of writers: first come, first served, with places that are taken before they are waited for."""

import asyncio

from eventree.stores.line import Line


async def test_places_are_served_in_the_order_in_which_they_were_taken() -> None:
    line = Line()
    first, second = line.enter(), line.enter()
    served: list[str] = []

    async def come() -> None:
        async with line:
            served.append("third")

    third = asyncio.create_task(come())
    await asyncio.sleep(0)
    assert (first.done(), second.done(), line.is_last(second)) == (True, False, False)
    line.leave(first)
    await second
    assert served == []
    line.leave(second)
    line.leave(second)
    await third
    assert served == ["third"]
    assert line.is_empty


async def test_who_gives_up_holds_up_nobody() -> None:
    line = Line()
    first, second = line.enter(), line.enter()

    async def come() -> None:
        async with line:
            pass

    gone, came = asyncio.create_task(come()), asyncio.create_task(come())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    line.leave(second)
    line.leave(first)
    await came
    assert line.is_empty


async def test_who_is_cancelled_with_the_lock_in_reach_passes_it_on() -> None:
    line = Line()
    first = line.enter()

    async def come() -> None:
        async with line:
            pass

    gone, came = asyncio.create_task(come()), asyncio.create_task(come())
    await asyncio.sleep(0)
    line.leave(first)
    gone.cancel()
    await came
    assert gone.cancelled()
    assert line.is_empty


async def test_a_place_is_reached_in_time_or_not() -> None:
    line = Line()
    first = line.enter()
    second = line.enter()
    assert await line.reach(first, None)
    assert not await line.reach(second, 0.01)
    line.leave(second)
    line.leave(first)
    assert line.is_empty
