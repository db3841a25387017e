"""What a chaos run draws, and how it cuts a file back: pure, and the same for the same seed."""

from itertools import islice

from tests.chaos.aof import transaction_ends
from tests.chaos.plan import KINDS, Family, draw_plan
from tests.chaos.workload import RECIPES, SHARES, draw_wishes, spec_of


def test_the_same_seed_gives_the_same_plan() -> None:
    assert draw_plan(3, 50) == draw_plan(3, 50)
    assert draw_plan(3, 50) != draw_plan(4, 50)


def test_a_short_plan_has_each_family_once() -> None:
    for seed in range(20):
        assert {fault.kind.family for fault in draw_plan(seed, len(Family))} == set(Family)
        assert len(draw_plan(seed, 3)) == 3


def test_a_long_plan_has_each_kind() -> None:
    for seed in range(20):
        assert {fault.kind for fault in draw_plan(seed, 200)} == set(KINDS)


def test_the_same_seed_gives_the_same_wishes() -> None:
    recipes = list(SHARES)
    first, second = (list(islice(draw_wishes(5, recipes, real=2), 300)) for _ in range(2))
    assert first == second
    assert [wish.recipe for wish in first[:3]].count("real") == 2
    assert {wish.recipe for wish in first} == {*SHARES, "real"}


def test_every_recipe_is_one() -> None:
    for recipe in RECIPES:
        assert spec_of(recipe, "a").name == "a"


def test_an_aof_is_cut_between_transactions() -> None:
    single = b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"
    bundle = b"*1\r\n$5\r\nMULTI\r\n" + single + b"*1\r\n$4\r\nEXEC\r\n"
    noted = b"#TS:1700000000\r\n"
    data = single + bundle + noted + single
    ends = [len(single), len(single + bundle), len(single + bundle + noted), len(data)]
    assert list(transaction_ends(data)) == ends
    for cut in range(1, len(single)):  # what is not whole ends nowhere
        assert list(transaction_ends(data[:-cut])) == ends[:-1]
        assert list(transaction_ends(single + bundle[: -len(single) - cut])) == ends[:1]
