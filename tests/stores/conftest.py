import pytest

pytest.register_assert_rewrite("stores.append_promises", "stores.read_promises", "stores.store_suite")
