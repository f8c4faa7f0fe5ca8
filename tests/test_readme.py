"""The README's code runs and prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


RUN_TESTS = """
for name, test in list(globals().items()):
    if name.startswith("test_"):
        print(name)
        try:
            asyncio.run(test()) if asyncio.iscoroutinefunction(test) else test()
        except AssertionError as error:
            print(f"AssertionError: {error}")
"""
"""Runs what a test runner would run; only what the README shows to fail may fail."""

TESTS = [
    "test_withdraw_part_of_the_balance",
    "test_a_withdrawal_costs_a_fee",
    "test_deposits_are_listed",
    "test_stored_events_are_still_decoded_to_the_same_values",
    "test_a_deposit_can_be_retried_after_its_answer_was_lost",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_python_blocks_run_in_order_as_one_program(tmp_path: Path) -> None:
    program = tmp_path / "readme.py"
    program.write_text("\n".join([*blocks("python"), RUN_TESTS]), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[0] == (
        "supervisor counters: child 'counter' (incarnation 1) crashed while handling int; "
        "restarting it (1 of 3 restarts)"
    )
    assert result.stderr.count("supervisor") == 1
    first = [
        "0 events behind",
        "refused: not enough money",
        "100",
        "request-42 True",
        "anna 1 Deposited(amount=Decimal('100')) {'user': '456'}",
    ]
    golden = [
        f"AssertionError: the golden files in {tmp_path / 'golden'} do not match the code",
        '- Deposited.v1.txt: deposited {"amount":"5"} was added; review it and commit the file',
        '- Withdrawn.v1.txt: withdrawn {"amount":"7"} was added; review it and commit the file',
    ]
    failure, traces, actors = blocks("text")
    printed = [*first, *traces.splitlines(), *actors.splitlines(), *TESTS, *failure.splitlines(), *golden]
    assert sorted(result.stdout.splitlines()) == sorted(printed)


def test_there_are_two_commands_and_each_makes_its_own_environment() -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 2
    assert all(command.startswith("python3 -m venv .venv && .venv/bin/pip install ") for command in commands)
    assert commands[0].endswith("python examples/01_bank_account.py")
    assert "-m pytest" in commands[1]
