"""Which aggregates are contested; `test_actor_conflicts` shows what their turns do."""

from eventree.sourcing.commands.turns import LOSSES, QUIET_TURNS, Contested


def test_an_aggregate_is_contested_once_it_has_lost_often_enough() -> None:
    contested = Contested(10)
    assert not contested
    for losses in range(1, LOSSES):
        contested.lost("a", losses)
        assert "a" not in contested
    contested.lost("a", LOSSES)
    assert contested
    assert ("a" in contested, "b" in contested) == (True, False)


def test_an_aggregate_is_contested_until_nobody_else_has_written_for_some_turns() -> None:
    contested = Contested(10)
    contested.lost("a", LOSSES)
    for _ in range(QUIET_TURNS - 1):
        contested.had_turn("a", has_changed=False)
    assert "a" in contested
    contested.had_turn("a", has_changed=True)
    for _ in range(QUIET_TURNS):
        assert "a" in contested
        contested.had_turn("a", has_changed=False)
    assert not contested


def test_beyond_the_limit_the_oldest_is_forgotten() -> None:
    contested = Contested(2)
    for id in ("a", "b", "b", "c"):
        contested.lost(id, LOSSES)
    assert [id in contested for id in "abc"] == [False, True, True]
