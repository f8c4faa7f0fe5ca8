"""Which test holds which case of OTP's `supervisor_SUITE` (as of OTP 24, with the `significant` group).

A case has the test of its own name; the exceptions are listed, with what holds them instead.
"""

import ast
from pathlib import Path

CASES = {
    "test_otp_start": """
        sup_start_normal sup_start_ignore_init sup_start_error_return sup_start_fail sup_start_ignore_child
        sup_start_ignore_temporary_child sup_start_ignore_temporary_child_start_child
        sup_start_ignore_temporary_child_start_child_simple sup_start_ignore_permanent_child_start_child_simple
        sup_start_child_returns_error sup_start_child_returns_error_simple sup_start_restart_child_returns_error
        sup_start_map sup_start_map_simple sup_start_map_faulty_specs child_specs child_specs_map sup_flags
        extra_return simple_one_for_one_extra faulty_application_shutdown
    """,
    "test_otp_stop": """
        sup_stop_infinity sup_stop_timeout sup_stop_timeout_dynamic sup_stop_brutal_kill sup_stop_brutal_kill_dynamic
        sup_stop_race sup_stop_non_shutdown_exit_dynamic child_unlink order_of_children
    """,
    "test_otp_child_admin": """
        child_adm child_adm_simple permanent_normal permanent_shutdown permanent_abnormal transient_normal
        transient_shutdown transient_abnormal temporary_normal temporary_shutdown temporary_abnormal
        temporary_bystander multiple_restarts
    """,
    "test_otp_strategies": """
        one_for_one one_for_all rest_for_one simple_one_for_one one_for_one_escalation one_for_all_escalation
        rest_for_one_escalation simple_one_for_one_escalation one_for_all_other_child_fails_restart
        rest_for_one_other_child_fails_restart simple_one_for_one_shutdown simple_one_for_one_corruption
        simple_global_supervisor
    """,
    "test_otp_trees": """
        tree hanging_restart_loop hanging_restart_loop_rest_for_one hanging_restart_loop_simple format_log_1
        format_log_2
    """,
    "test_otp_scale": """
        count_children count_children_supervisor count_restarting_children
        simple_one_for_one_scale_many_temporary_children scale_start_stop_many_children
        do_not_save_start_parameters_for_temporary_children do_not_save_child_specs_for_temporary_children
    """,
    "test_otp_reconfigure": "code_change code_change_map code_change_simple code_change_simple_map",
    "test_otp_significant": """
        nonsignificant_temporary nonsignificant_transient significant_temporary significant_transient
        significant_simple significant_bystander significant_escalation significant_upgrade_never_any
        significant_upgrade_any_never significant_upgrade_never_all significant_upgrade_all_never
        significant_upgrade_any_all significant_upgrade_all_any significant_upgrade_child
    """,
}

UNDER_ANOTHER_NAME = {
    # A pool keeps nothing of a child that ignored its start, whether temporary or permanent: one test, two parameters.
    "sup_start_ignore_permanent_child_start_child_simple": "test_sup_start_ignore_temporary_child_start_child_simple",
}


def names_in(file: str) -> set[str]:
    module = ast.parse((Path(__file__).parent / f"{file}.py").read_text())
    return {
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_case_has_its_test() -> None:
    for file, cases in CASES.items():
        expected = {UNDER_ANOTHER_NAME.get(case, f"test_{case}") for case in cases.split()}
        assert expected - names_in(file) == set(), file


def test_every_test_file_is_in_the_table() -> None:
    assert {path.stem for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).stem} == set(CASES)
