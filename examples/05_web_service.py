"""A system inside a web service, and what becomes of the service when the system gives up.

A system whose actors keep crashing gives up. A web server does not notice: it would answer every request with an error,
for ever. Two remedies: end the server with the system, so that whatever runs the program starts it anew; or let a
supervisor of your own restart the system inside the running server. `/health` tells which state it is in.

    python examples/05_web_service.py

`WebServer` stands for uvicorn or hypercorn, so that this runs with the standard library alone: like them, it runs the
lifespan in a task of its own.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TypeAlias

from bank import BankAccount, BankCommand, BankError, BankEvent, OpenAccount, bank_account
from eventree import (
    Backoff,
    DomainError,
    Err,
    EventreeError,
    EventSourcing,
    Ok,
    Supervisor,
)
from eventree.sourcing import SystemStatus
from eventree.testing import FailingStore

Accounts: TypeAlias = EventSourcing[BankAccount, BankCommand, BankEvent, BankError]
Answer: TypeAlias = tuple[HTTPStatus, str]
Lifespan: TypeAlias = Callable[["WebServer"], AbstractAsyncContextManager[Accounts]]


class WebServer:
    """Answer requests until it is told to end: the little of a web server that matters here."""

    def __init__(self, lifespan: Lifespan) -> None:
        """Prepare a server.

        Args:
            lifespan: Starts what the server needs, and stops it.
        """
        loop = asyncio.get_running_loop()
        self.port: asyncio.Future[int] = loop.create_future()
        self._accounts: asyncio.Future[Accounts] = loop.create_future()
        self._lifespan = lifespan
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End in order, as on SIGTERM."""
        self._ending.set()

    async def run(self) -> BaseException | None:
        """Serve until the end; return the error of the lifespan, if there was one."""
        lifespan = asyncio.create_task(self._run_lifespan())
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.port.set_result(server.sockets[0].getsockname()[1])
            await self._ending.wait()
        [error] = await asyncio.gather(lifespan, return_exceptions=True)
        return error

    async def _run_lifespan(self) -> None:
        async with self._lifespan(self) as accounts:
            self._accounts.set_result(accounts)
            await self._ending.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        status, text = await route(await self._accounts, path)
        writer.write(f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        writer.close()


async def route(accounts: Accounts, path: str) -> Answer:
    """Answer a request."""
    if path == "/health":
        is_well = accounts.status is SystemStatus.RUNNING
        return HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE, accounts.status.value
    account_id = path.rpartition("/")[2]
    match await accounts.execute(account_id, OpenAccount(account_id)):
        case Ok(commit):
            return HTTPStatus.CREATED, f"position {commit.position}"
        case Err(DomainError(reason)):
            return HTTPStatus.CONFLICT, str(reason)
        case Err(error):
            return HTTPStatus.INTERNAL_SERVER_ERROR, type(error).__name__


# --- the first remedy: the server ends with the system


async def end_with(accounts: Accounts, end: Callable[[], None]) -> None:
    """Wait until the system has stopped for good, then end the program around it.

    Inside uvicorn, `end` is `lambda: signal.raise_signal(signal.SIGTERM)`.
    """
    try:
        await accounts.wait_stopped()
    except EventreeError as error:
        print("!", error)
    end()


def ending_with_the_system(store: FailingStore) -> Lifespan:
    """Return the lifespan of a service that ends when its system gives up.

    With FastAPI or Starlette it is the same function: `FastAPI(lifespan=lifespan)`.
    """

    @asynccontextmanager
    async def lifespan(server: WebServer) -> AsyncGenerator[Accounts, None]:
        async with store, EventSourcing(bank_account, store) as accounts:
            watching = asyncio.create_task(end_with(accounts, server.end))
            yield accounts
            watching.cancel()

    return lifespan


# --- the second remedy: a supervisor of one's own restarts the system


def restarting_the_system(store: FailingStore) -> Lifespan:
    """Return the lifespan of a service whose system is restarted, up to 10 times in a row."""

    @asynccontextmanager
    async def lifespan(server: WebServer) -> AsyncGenerator[Accounts, None]:
        accounts = EventSourcing(bank_account, store)
        spec = replace(accounts.child_spec(), backoff=Backoff(initial=0.05, maximum=5.0))
        async with store, Supervisor([spec], max_restarts=10, name="service"):
            watching = asyncio.create_task(end_with(accounts, server.end))  # should that give up too
            yield accounts
            watching.cancel()

    return lifespan


# --- the story


async def get(server: WebServer, path: str) -> str:
    """Return the status and the text of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.port)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    head, _, text = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return f"{path} {head.split()[1]} {text}"


async def crash(server: WebServer, store: FailingStore) -> None:
    """Let a bug crash the actor that executes commands once more than its supervisor stands."""
    store.fail("append", ZeroDivisionError("a bug in the store"), times=4)
    for number in range(4):
        with suppress(OSError, IndexError):  # the server may have ended before it could answer the last one
            print(await get(server, f"/open/bert-{number}"))


async def until_accepted(server: WebServer, path: str) -> None:
    """Repeat a request, as clients do, until the restarted system accepts it."""
    while " 201 " not in (answer := await get(server, path)):  # noqa: ASYNC110 - clients have no event to wait for
        await asyncio.sleep(0.01)
    print(answer)


async def tell(
    title: str, remedy: Callable[[FailingStore], Lifespan], then: Callable[[WebServer], Awaitable[None]]
) -> None:
    """Run a server, let its system give up, and show what comes of it."""
    print(title)
    store = FailingStore()  # a store in memory that fails on demand
    server = WebServer(remedy(store))
    running = asyncio.create_task(server.run())
    print(await get(server, "/open/anna"))
    print(await get(server, "/health"))
    await crash(server, store)
    await then(server)
    error = await running
    print("the server has ended", "in order" if error is None else f"with {type(error).__name__}")


async def goes_on(server: WebServer) -> None:
    """Show that a server goes on after its system has given up."""
    await until_accepted(server, "/open/carl")
    print(await get(server, "/health"))
    server.end()


async def ends(_: WebServer) -> None:
    """Do nothing: a server ends by itself."""


async def main() -> None:
    """Show both remedies."""
    logging.getLogger("eventree").setLevel(logging.CRITICAL)  # the crashes are on purpose
    await tell("--- the server ends with its system", ending_with_the_system, ends)
    await tell("--- the system is restarted inside the server", restarting_the_system, goes_on)


if __name__ == "__main__":
    asyncio.run(main())
