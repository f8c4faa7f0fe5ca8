"""The examples, run as a user would: as scripts, on a file, killed in the middle and run again."""

import csv
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "01_bank_account.py"
BERKA = ROOT.parent / "shared" / "data" / "berka_ledger.csv"


def run_example(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def stored_rows(database: Path) -> Counter[str]:
    with sqlite3.connect(database) as db:
        rows = db.execute("SELECT metadata ->> 'transaction_id' FROM event_log").fetchall()
    db.close()
    return Counter(row[0] for row in rows)


def test_the_default_ledger_shows_refusals_a_crash_and_right_balances(tmp_path: Path) -> None:
    result = run_example(tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "accepted 14, refused 9, repeated 1, skipped 0" in lines
    assert "! the query actor 'balances' crashes at position 13 (on purpose)" in lines
    assert any("its supervisor restarted it" in line for line in lines)
    assert "  refused T007 of 2024-01-05, account bob: CANT_WITHDRAW_MORE_THAN_CURRENT_BALANCE" in lines
    assert "  refused T003 of 2024-01-03, account bob: CANT_OPERATE_ON_UNOPENED_ACCOUNT" in lines
    assert "  refused T009 of 2024-01-05, account carol: CANT_DEPOSIT_NEGATIVE_AMOUNT" in lines
    assert ["alice", "800.00", "800.00"] in [line.split() for line in lines]
    assert "balances that agree with the ledger: 4 of 4 accounts, wrong: 0" in lines
    assert "rows whose balance was checked: 10, wrong: 0" in lines
    assert "1 actor restarts" in result.stdout


def test_a_second_run_executes_only_what_comes_after_the_last_stored_row_of_each_account(tmp_path: Path) -> None:
    run_example(tmp_path)
    result = run_example(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "accepted 0, refused 2, repeated 0, skipped 22" in result.stdout
    assert "4 of 4 accounts, wrong: 0" in result.stdout
    assert set(stored_rows(tmp_path / "bank.db").values()) == {1}


def test_a_wrong_balance_in_the_ledger_is_found(tmp_path: Path) -> None:
    ledger = (
        "transaction_id,date,account_id,kind,amount,balance_after\n1,d,a,deposit,5.00,5.00\n2,d,a,deposit,5.00,11.00\n"
    )
    result = run_example(tmp_path, "-", "--open-accounts", stdin=ledger)
    assert result.returncode == 1, result.stderr
    assert "balances that agree with the ledger: 0 of 1 accounts, wrong: 1" in result.stdout
    assert "rows whose balance was checked: 2, wrong: 1" in result.stdout


def test_a_ledger_without_the_column_balance_after_will_do(tmp_path: Path) -> None:
    result = run_example(
        tmp_path, "-", stdin="transaction_id,date,account_id,kind,amount\n1,d,a,open,\n2,d,a,deposit,5\n"
    )
    assert result.returncode == 0, result.stderr
    assert "accepted 2, refused 0, repeated 0, skipped 0" in result.stdout


@pytest.mark.parametrize(
    ("ledger", "complaint"),
    [("missing.csv", "cannot be read"), (str(EXAMPLE), "no column"), ("-", "no column")],
)
def test_what_is_no_ledger_is_refused_in_one_line(tmp_path: Path, ledger: str, complaint: str) -> None:
    result = run_example(tmp_path, ledger)
    assert result.returncode == 1
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_that_is_killed_loses_no_row_and_applies_none_twice(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.csv"
    rows = [(f"t{n}", "2024-01-01", f"acc{n % 50}", "deposit", "1.00", f"{n // 50 + 1}.00") for n in range(4_000)]
    with ledger.open("w", newline="") as file:
        csv.writer(file).writerows(
            [(["transaction_id", "date", "account_id", "kind", "amount", "balance_after"]), *rows]
        )
    for _ in range(2):
        kill_in_the_middle(tmp_path, ledger)
    result = run_example(tmp_path, str(ledger), "--open-accounts")
    assert result.returncode == 0, result.stderr
    assert "balances that agree with the ledger: 50 of 50 accounts, wrong: 0" in result.stdout
    stored = stored_rows(tmp_path / "bank.db")
    assert {id for id in stored if "/" not in id} == {row[0] for row in rows}
    assert set(stored.values()) == {1}


def kill_in_the_middle(folder: Path, ledger: Path) -> None:
    """Start a run and kill it when it reports that thousands of rows are acknowledged, or crashes on purpose."""
    with subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLE), str(ledger), "--open-accounts"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(("!", "  2500")):
                process.send_signal(signal.SIGKILL)
                break


@pytest.mark.skipif(not BERKA.exists(), reason=f"the bank's ledger is not at {BERKA}")
def test_every_balance_of_a_real_bank_agrees_with_the_banks_own(tmp_path: Path) -> None:
    result = run_example(tmp_path, str(BERKA), "--open-accounts")
    assert result.returncode == 0, result.stderr
    assert "accepted 11155, refused 0, repeated 0, skipped 0" in result.stdout
    assert "balances that agree with the ledger: 638 of 638 accounts, wrong: 0" in result.stdout
    assert "rows whose balance was checked: 10517, wrong: 0" in result.stdout


def test_actors_work_without_any_event_sourcing() -> None:
    script = ROOT / "examples" / "02_supervised_workers.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:2] == ["hello, ann", "cat.png at 80, number 1 of incarnation 1"]
    assert "dog.png at 80, number 1 of incarnation 2" in lines
    assert "! Reject: no picture is 0 pixels wide" in lines
    assert lines[-6:-2] == [
        "workers [one_for_one, 1 of 3 restarts in 5 s]",
        "├── resizer running, 1 restart, last crash ZeroDivisionError, handling Resize",
        "└── sessions running [one_for_one, 0 of 3 restarts in 5 s]",
        "    └── ann running",
    ]
    assert lines[-1] == "stopped: <ActorRef 'resizer' stopped, incarnation 2, 0 queued>"


def test_a_projection_parks_a_poison_event_and_is_replaced_while_it_runs() -> None:
    script = ROOT / "examples" / "03_projections.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "parked: [('account-7', 'ValueError: this code cannot cope with such an amount'), ('account-7', '')]"
    )
    assert lines[1] == "balance of account-7 meanwhile: [('25',)]"
    assert "accounts version 2 goes live" in lines
    assert lines[-4:] == [
        "building #################### 5202 of 5202",
        "account-7: [(28, 3366)]",
        "deposits counted: 5003, stored: 5003",
        "version 2 is running, 0 events behind",
    ]


def test_a_web_service_ends_with_its_system_or_has_it_restarted() -> None:
    script = ROOT / "examples" / "05_web_service.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    ended, restarted = result.stdout.split("--- the system is restarted inside the server\n")
    assert ended.splitlines()[1:3] == restarted.splitlines()[:2] == ["/open/anna 201 position 1", "/health 200 running"]
    assert "! supervisor 'event sourcing bank-account' gave up: more than 3 restarts in 5 s" in ended
    assert ended.splitlines()[-1] == "the server has ended with RestartIntensityExceeded"
    assert restarted.splitlines()[-3:] == [
        "/open/carl 201 position 2",
        "/health 200 running",
        "the server has ended in order",
    ]


def test_events_are_renamed_and_changed_and_mean_what_they_meant() -> None:
    script = ROOT / "examples" / "04_changing_events.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[2] == "third release:  Balances(amounts={'EUR': Decimal('12'), 'USD': Decimal('9')})"
    assert [line.split(", read as ")[0] for line in lines[3:6]] == [
        '  stored as Deposited 1 {"amount":"5"}',
        '  stored as CashDeposited 1 {"amount":"7"}',
        '  stored as CashDeposited 2 {"amount":"9","currency":"USD"}',
    ]
    assert [line.split(" was added")[0] for line in lines if line.endswith("commit the file")] == [
        '- Deposited.v1.txt: five {"amount":"5"}',
        '- CashDeposited.v1.txt: five {"amount":"5"}',
        '- CashDeposited.v2.txt: five {"amount":"5","currency":"EUR"}',
    ]
    assert all("missing required field `payer`" in line for line in lines[-3:])
