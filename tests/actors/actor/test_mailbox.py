"""The mailbox: bounded, in order, and it wakes everyone who waits."""

import asyncio
from collections.abc import Iterable

import pytest

from actors.crew import Boom, ticks
from eventree import ActorCrashed, ActorStopped, MailboxFull
from eventree.actors import MailboxSpec, Request
from eventree.actors.actor.mailbox import BATCHES_PER_TURN, Mailbox

Box = Mailbox[str, str]


def opened(maxsize: int = 10, messages: Iterable[str] = ()) -> Box:
    mailbox = Box("owner", MailboxSpec(maxsize=maxsize))
    mailbox.open()
    for message in messages:
        mailbox.put_nowait(Request(message))
    return mailbox


def take(mailbox: Box, limit: int = 100) -> list[str]:
    return [request.message for request in mailbox.take(limit)]


def asked(message: str) -> tuple[Request[str, str], "asyncio.Future[str]"]:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return Request(message, answer), answer


async def writers(mailbox: Box, *messages: str) -> "list[asyncio.Task[None]]":
    """Start a task for each message that waits for room."""
    tasks = [asyncio.ensure_future(mailbox.put(Request(message))) for message in messages]
    await ticks(2)
    return tasks


async def test_requests_are_taken_in_the_order_they_came() -> None:
    mailbox = opened(messages="abcd")
    assert take(mailbox, 3) == ["a", "b", "c"]
    assert len(mailbox) == 1
    assert take(mailbox, 3) == ["d"]


async def test_control_comes_first_one_at_a_time_and_needs_no_room() -> None:
    mailbox = opened(1, ["a"])
    mailbox.put_control(Request("x"))
    mailbox.put_control(Request("y"))
    assert [take(mailbox), take(mailbox), take(mailbox)] == [["x"], ["y"], ["a"]]


async def test_control_is_ignored_by_a_closed_mailbox() -> None:
    mailbox = Box("owner", MailboxSpec(maxsize=1))
    mailbox.put_control(Request("x"))
    mailbox.open()
    assert take(mailbox) == []


async def test_there_is_room_while_it_is_open_and_not_full() -> None:
    mailbox = opened(2, ["a"])
    assert mailbox.has_room
    mailbox.put_nowait(Request("b"))
    assert not mailbox.has_room
    take(mailbox)
    assert mailbox.has_room
    mailbox.close()
    assert not mailbox.has_room


async def test_a_full_mailbox_says_whose_it_is_and_how_much_it_holds() -> None:
    mailbox = opened(2, "ab")
    with pytest.raises(MailboxFull) as caught:
        mailbox.put_nowait(Request("c"))
    assert (caught.value.actor, caught.value.size, len(mailbox)) == ("owner", 2, 2)


async def test_a_closed_mailbox_refuses_requests() -> None:
    mailbox = Box("owner", MailboxSpec(maxsize=1))
    with pytest.raises(ActorStopped) as caught:
        mailbox.put_nowait(Request("a"))
    assert caught.value.actor == "owner"
    with pytest.raises(ActorStopped):
        await mailbox.put(Request("a"))
    assert not mailbox.is_open


async def test_waiting_writers_get_room_in_the_order_they_came() -> None:
    mailbox = opened(1, ["a"])
    tasks = await writers(mailbox, "b", "c", "d")
    taken = []
    for _ in range(4):
        taken += take(mailbox, 1)
        await ticks(3)
    assert taken == ["a", "b", "c", "d"]
    assert all(task.done() for task in tasks)


async def test_room_for_two_wakes_two() -> None:
    mailbox = opened(2, "ab")
    tasks = await writers(mailbox, "c", "d", "e")
    take(mailbox, 2)
    await ticks(2)
    assert [task.done() for task in tasks] == [True, True, False]
    assert take(mailbox) == ["c", "d"]
    await tasks[2]


async def test_closing_wakes_every_waiting_writer_with_an_error() -> None:
    mailbox = opened(1, ["a"])
    tasks = await writers(mailbox, "b", "c", "d")
    mailbox.close()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [ActorStopped] * 3


async def test_a_writer_cancelled_with_room_in_its_hands_gives_it_to_the_next() -> None:
    mailbox = opened(1, ["a"])
    first, second = await writers(mailbox, "b", "c")
    take(mailbox)  # wakes the first writer
    first.cancel()  # before it could run
    async with asyncio.timeout(1):
        await second
    assert take(mailbox) == ["c"]
    assert first.cancelled()


async def test_a_writer_cancelled_while_it_waits_is_not_given_room() -> None:
    mailbox = opened(1, ["a"])
    first, second = await writers(mailbox, "b", "c")
    first.cancel()
    await ticks(2)
    take(mailbox)
    async with asyncio.timeout(1):
        await second
    assert take(mailbox) == ["c"]


async def test_a_writer_whose_room_was_taken_by_another_waits_on() -> None:
    mailbox = opened(1, ["a"])
    (waiting,) = await writers(mailbox, "b")
    take(mailbox)
    mailbox.put_nowait(Request("quick"))
    await ticks(3)
    assert not waiting.done()
    assert take(mailbox) == ["quick"]
    async with asyncio.timeout(1):
        await waiting
    assert take(mailbox) == ["b"]


async def test_a_request_whose_sender_gave_up_is_skipped_and_makes_room() -> None:
    mailbox = opened(2)
    given_up, answer = asked("a")
    mailbox.put_nowait(given_up)
    mailbox.put_nowait(Request("b"))
    (waiting,) = await writers(mailbox, "c")
    answer.cancel()
    assert take(mailbox, 1) == ["b"]
    assert not given_up.taken
    await waiting
    assert take(mailbox) == ["c"]


async def test_a_reader_is_woken_by_a_request() -> None:
    mailbox = opened()
    reading = asyncio.ensure_future(mailbox.wait())
    await ticks(2)
    assert not reading.done()
    mailbox.put_nowait(Request("a"))
    async with asyncio.timeout(1):
        assert await reading
    assert take(mailbox) == ["a"]


async def test_a_reader_cancelled_as_a_request_arrives_loses_nothing() -> None:
    mailbox = opened()
    reading = asyncio.ensure_future(mailbox.wait())
    await ticks(2)
    mailbox.put_nowait(Request("a"))
    reading.cancel()
    await ticks(2)
    assert reading.cancelled()
    assert await mailbox.wait()
    assert take(mailbox) == ["a"]


async def test_the_wish_to_stop_comes_before_requests_that_wait() -> None:
    mailbox = opened(messages="ab")
    mailbox.request_stop()
    mailbox.request_stop()
    assert not await mailbox.wait()
    assert len(mailbox) == 2


async def test_the_wish_to_stop_wakes_an_idle_reader() -> None:
    mailbox = opened()
    reading = asyncio.ensure_future(mailbox.wait())
    await ticks(2)
    mailbox.request_stop()
    async with asyncio.timeout(1):
        assert not await reading


async def test_a_mailbox_opened_again_has_forgotten_the_wish_to_stop_and_kept_its_requests() -> None:
    mailbox = opened(messages="a")
    mailbox.request_stop()
    mailbox.open()
    assert await mailbox.wait()
    assert take(mailbox) == ["a"]


async def test_a_reader_with_a_backlog_lets_other_tasks_run() -> None:
    mailbox = opened(messages="ab")
    ran: list[bool] = []
    asyncio.get_running_loop().call_soon(ran.append, True)
    for _ in range(BATCHES_PER_TURN):
        await mailbox.wait()
    assert ran == [True]


async def test_closing_answers_what_waits_and_what_is_in_work() -> None:
    mailbox = opened()
    (in_progress, first), (waiting, second) = asked("a"), asked("b")
    mailbox.put_nowait(in_progress)
    mailbox.take(1)
    mailbox.put_nowait(waiting)
    mailbox.close()
    assert isinstance(first.exception(), ActorStopped)
    assert isinstance(second.exception(), ActorStopped)
    assert len(mailbox) == 0


async def test_only_what_is_in_work_and_unanswered_fails_with_a_crash() -> None:
    mailbox = opened()
    pairs = [asked(message) for message in "abc"]
    for request, _ in pairs:
        mailbox.put_nowait(request)
    mailbox.take(2)
    pairs[0][0].reply("done")
    error = ActorCrashed("owner", Boom())
    mailbox.fail_in_progress(error)
    assert pairs[0][1].result() == "done"
    assert pairs[1][1].exception() is error
    assert not pairs[2][1].done()


async def test_late_and_second_answers_do_nothing() -> None:
    request, answer = asked("a")
    request.reply("first")
    request.reply("second")
    request.fail(Boom())
    assert await answer == "first"
    told = Request[str, str]("b")
    told.reply("nobody hears it")
    told.fail(Boom())
    assert (told.answered, told.abandoned) == (True, False)


async def test_what_is_set_aside_comes_back_before_all_that_waits_in_its_order() -> None:
    mailbox = opened()
    (a, _), (b, _), (c, _), (d, _) = (asked(message) for message in "abcd")
    for request in (a, b, c, d):
        mailbox.put_nowait(request)
    assert mailbox.take(3) == [a, b, c]
    mailbox.set_aside({"x": [a, c]})
    assert (len(mailbox), mailbox.aside, mailbox.in_progress) == (1, 2, ("str",) * 3)
    assert [request.taken for request in (a, b, c)] == [False, True, False]
    mailbox.give_back("x")
    assert (len(mailbox), mailbox.aside) == (3, 0)
    assert mailbox.take(10) == [a, c, d]
    for request in (a, b, c, d):
        request.reply("ok")


async def test_what_is_set_aside_is_forgotten_once_its_sender_has_gone() -> None:
    mailbox = opened()
    request, answer = asked("a")
    mailbox.put_nowait(request)
    mailbox.set_aside({"x": mailbox.take(1)})
    answer.cancel()
    await ticks(2)
    assert mailbox.aside == 0
    mailbox.give_back("x")
    assert len(mailbox) == 0


async def test_what_is_set_aside_can_be_taken_up_again_to_be_answered() -> None:
    mailbox = opened()
    request, answer = asked("a")
    mailbox.put_nowait(request)
    mailbox.set_aside({"x": mailbox.take(1)})
    assert mailbox.resume_aside("x") == [request]
    assert request.taken
    mailbox.fail_in_progress(ActorCrashed("owner", None))
    assert isinstance(answer.exception(), ActorCrashed)


async def test_a_crash_gives_back_what_is_set_aside_and_a_close_refuses_it() -> None:
    mailbox = opened()
    requests = [asked(message) for message in "ab"]
    for request, _ in requests:
        mailbox.put_nowait(request)
    first, second = mailbox.take(2)
    mailbox.set_aside({"x": [first], "y": [second]})
    mailbox.fail_in_progress(ActorCrashed("owner", None))
    assert mailbox.take(2) == [first, second]
    mailbox.set_aside({"x": [first, second]})
    mailbox.close()
    assert [type(answer.exception()) for _, answer in requests] == [ActorStopped] * 2
    assert len(mailbox) == 0


async def test_a_stop_waits_for_what_is_set_aside_only_if_it_drains() -> None:
    mailbox = opened()
    request, _ = asked("a")
    mailbox.put_nowait(request)
    mailbox.set_aside({"x": mailbox.take(1)})
    mailbox.request_stop(drain_until=asyncio.get_running_loop().time() + 60)
    waiting = asyncio.ensure_future(mailbox.wait())
    await ticks(2)
    assert not waiting.done()
    mailbox.give_back("x")
    assert await waiting
    assert mailbox.take(1) == [request]
    mailbox.set_aside({"x": [request]})
    mailbox.request_stop()
    assert not await mailbox.wait()
    request.reply("ok")


async def test_what_waits_after_a_stop_was_requested_can_still_be_taken() -> None:
    mailbox = opened(messages="abc")
    mailbox.request_stop()
    assert take(mailbox) == []
    assert [[request.message for request in mailbox.take_rest(2)] for _ in range(3)] == [["a", "b"], ["c"], []]
