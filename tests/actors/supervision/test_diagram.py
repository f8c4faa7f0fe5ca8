"""The picture of a running tree, as a person sees it."""

import asyncio
from typing import Any

from actors.crew import Clock, Crew, idle, until
from eventree import ChildSpec, DynamicSupervisor, Restart, Strategy, Supervisor
from eventree.actors import ChildCounts


async def test_a_picture_shows_names_status_restarts_crashes_work_and_backlog(crew: Crew) -> None:
    pool = DynamicSupervisor(crew.spec, max_restarts=9, max_seconds=60, name="pool")
    branch = ChildSpec(id="pool", start=lambda: pool)
    clerks = Supervisor(crew.specs("till", "safe"), strategy=Strategy.REST_FOR_ONE, name="clerks")
    specs: list[ChildSpec[Any, Any]] = [
        *crew.specs("mail", "stock"),
        ChildSpec(id="clerks", start=lambda: clerks),
        branch,
    ]
    async with Supervisor(specs, name="shop", clock=Clock()) as shop:
        await pool.get_or_start("ann")
        for message in ("crash", "crash", "wait", "hello", "hello"):
            crew.refs["mail"].tell(message)
        await until(lambda: "mail wait" in crew.log)
        await crew.refs["stock"].suspend()
        await crew.crash("till")
        await idle(clerks)
        picture = shop.tree()
        crew.gate.set()
    assert picture == (
        "shop [one_for_one, 2 of 3 restarts in 5 s]\n"
        "├── mail running, 2 restarts, last crash Boom, handling str, 2 queued\n"
        "├── stock running, suspended\n"
        "├── clerks running [rest_for_one, 1 of 3 restarts in 5 s]\n"
        "│   ├── till running, 1 restart, last crash Boom\n"
        "│   └── safe running, 1 restart\n"
        "└── pool running [one_for_one, 0 of 9 restarts in 60 s]\n"
        "    └── ann running"
    )


async def test_a_picture_shows_what_starts_is_restarted_and_has_stopped(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c", restart=Restart.TRANSIENT)) as supervisor:
        await supervisor.terminate_child("a")
        crew.init["b"] = crew.gate.wait
        await crew.crash("b")
        await until(lambda: crew.refs["b"].incarnation == 2)
        crew.refs["b"].tell("hello")
        assert supervisor.tree().splitlines()[1:] == [
            "├── a stopped",
            "├── b starting, 1 restart, last crash Boom, 1 queued",
            "└── c running",
        ]
        crew.gate.set()
        assert await crew.ask("b", "hello") == "hello by 2"


async def test_a_picture_shows_who_was_left_behind(crew: Crew) -> None:
    async def cling() -> None:
        while not crew.gate.is_set():
            try:
                await crew.gate.wait()
            except asyncio.CancelledError:
                continue

    crew.on_stop["a"] = cling
    async with Supervisor([crew.spec("a", shutdown=0.01)], kill_grace=0.01) as supervisor:
        await supervisor.terminate_child("a")
        assert supervisor.tree() == "supervisor [one_for_one, 0 of 3 restarts in 5 s, 1 abandoned]\n└── a stopped"


async def test_a_picture_keeps_what_an_error_says_to_itself(crew: Crew) -> None:
    async def fail() -> None:
        raise ValueError("card 4111: refused")

    async with Supervisor(crew.specs("a")) as supervisor:
        crew.on_stop["a"] = fail
        crew.refs["a"].tell("stop")
        await idle(supervisor)
        picture = supervisor.tree()
        del crew.on_stop["a"]
    assert picture.endswith("a running, 1 restart, last crash ValueError")


async def test_a_tree_without_children_is_one_line() -> None:
    async with Supervisor(name="nobody") as supervisor:
        assert supervisor.tree() == "nobody [one_for_one, 0 of 3 restarts in 5 s]"


async def test_children_are_counted_by_what_they_are(crew: Crew) -> None:
    branch = ChildSpec(id="branch", start=Supervisor)
    async with Supervisor([*crew.specs("a", "b"), branch]) as supervisor:
        await supervisor.terminate_child("b")
        assert supervisor.count_children() == ChildCounts(specs=3, active=2, supervisors=1, workers=2)


async def test_a_picture_can_be_taken_in_the_middle_of_a_stop(crew: Crew) -> None:
    pictures: list[str] = []

    async def look() -> None:
        pictures.append(supervisor.tree())

    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a", "b")) as supervisor:
            crew.on_stop["a"] = look
        assert pictures[0].splitlines()[1:] == ["├── a stopping", "└── b stopped"]
