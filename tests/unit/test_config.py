"""Configured classes: every kind of annotation, checked when an object is made."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Protocol, TypeVar

import pytest
from omegaconf import OmegaConf

from xai_exp.config import InputError, Range, configured

T = TypeVar("T")


class Rule(Protocol):
    def __call__(self, value: float) -> float: ...


@configured
class Other:
    name: str = "other"


@configured
class Thing:
    whole: int = 1
    number: float = 1.0
    flag: bool = True
    text: str = "a"
    choice: Literal["a", "b", 3] = "a"
    maybe: Annotated[int, Range(1)] | None = None
    optional: Optional[str] = None  # noqa: UP045
    number_or_text: float | str = 1.0
    whole_or_number: int | float = 1
    between: Annotated[float, Range(0, 1)] = 0.5
    above: Annotated[float, Range(0, exclusive_low=True)] = 1.0
    below: Annotated[int, Range(None, 10, exclusive_high=True)] = 5
    unbounded: Annotated[float, Range(0, math.inf)] = 1.0
    sizes: tuple[int, ...] = ()
    shares: tuple[Annotated[float, Range(0, 1)], ...] = ()
    each: Annotated[tuple[int, ...], Range(1)] = (1,)
    pair: tuple[int, int] = (1, 2)
    mixed: tuple[str, Annotated[int, Range(0)]] = ("a", 0)
    perhaps_pair: tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]] | None = None
    other: Other = dataclasses.field(default_factory=Other)
    path: Path = Path()
    rule: Rule = abs
    function: Callable[[float], float] = abs
    anything: Any = None


GOOD = [
    *(("whole", 0), ("whole", -5), ("number", 2.5), ("flag", False), ("text", "")),
    *(("choice", "b"), ("choice", 3), ("maybe", None), ("maybe", 1), ("optional", "x")),
    *(("number_or_text", "x"), ("number_or_text", 2.0), ("whole_or_number", 2.5)),
    *(("between", 0.0), ("between", 1.0), ("above", 1e-300), ("below", 9), ("below", -(10**9))),
    *(("unbounded", math.inf), ("sizes", (1, 2, 3)), ("sizes", ())),
    *(("shares", (0.0, 1.0)), ("each", (1, 2)), ("pair", (3, 4)), ("mixed", ("b", 2))),
    *(("perhaps_pair", (8, 9)), ("perhaps_pair", None), ("other", Other(name="x"))),
    *(("rule", math.sqrt), ("anything", object), ("path", Path("x"))),
]

# Field, value, what is allowed as the message says it.
BAD = [
    ("whole", 1.5, "a whole number"),
    ("whole", 1.0, "a whole number"),
    ("whole", "1", "a whole number"),
    ("whole", True, "a whole number"),
    ("whole", None, "a whole number"),
    ("number", "1", "a number"),
    ("number", True, "a number"),
    ("number", None, "a number"),
    ("flag", 1, "true or false"),
    ("flag", "true", "true or false"),
    ("text", 1, "text"),
    ("text", None, "text"),
    ("choice", "c", "one of a, b, 3"),
    ("choice", None, "one of a, b, 3"),
    ("maybe", 0, "a whole number >= 1 or null"),
    ("maybe", 1.5, "a whole number >= 1 or null"),
    ("optional", 1, "text or null"),
    ("number_or_text", None, "a number or text"),
    ("between", -1e-9, "a number >= 0 and <= 1"),
    ("between", 1.5, "a number >= 0 and <= 1"),
    ("between", math.nan, "a number >= 0 and <= 1"),
    ("above", 0.0, "a number > 0"),
    ("above", -1.0, "a number > 0"),
    ("above", math.nan, "a number > 0"),
    ("below", 10, "a whole number < 10"),
    ("unbounded", math.nan, "a number >= 0 and <= inf"),
    ("number", math.inf, "a number, finite"),
    ("number", math.nan, "a number, finite"),
    ("above", math.inf, "a number > 0"),
    ("sizes", (1, 2.5), "a list, each a whole number"),
    ("sizes", 1, "a list, each a whole number"),
    ("sizes", "12", "a list, each a whole number"),
    ("shares", (0.5, 1.5), "a list, each a number >= 0 and <= 1"),
    ("each", (1, 0), "a list, each a whole number >= 1"),
    ("pair", (1,), "a list of 2, each a whole number"),
    ("pair", (1, 2, 3), "a list of 2, each a whole number"),
    ("pair", (1, "2"), "a list of 2, each a whole number"),
    ("perhaps_pair", (0, 8), "a list of 2, each a whole number >= 1 or null"),
    ("other", "other", "Other"),
    ("other", None, "Other"),
    ("path", "x", "Path"),
    ("rule", 3, "Rule"),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_the_annotation_allows_is_kept_as_it_is(name, value):
    assert getattr(Thing(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_what_it_does_not_allow_is_refused_with_what_was_got_and_what_is_allowed(
    name, value, allowed
):
    with pytest.raises(InputError) as caught:
        Thing(**{name: value})
    assert str(caught.value) == f"Thing.{name}: got {value!r}; allowed: {allowed}"


def test_the_line_for_a_tuple_of_several_kinds_names_the_field():
    for value in (("a", -1), (1, 1), ("a",)):
        with pytest.raises(InputError, match=r"^Thing\.mixed: got "):
            Thing(mixed=value)


def test_whole_numbers_stand_for_numbers_and_stay_whole_where_both_are_allowed():
    made = Thing(number=2, between=1, whole_or_number=2, number_or_text=3)
    assert [type(v) for v in (made.number, made.between, made.number_or_text)] == [float] * 3
    assert type(made.whole_or_number) is int


def test_lists_of_a_yaml_file_become_tuples():
    node = OmegaConf.create({"sizes": [1, 2], "pair": [3, 4]})
    made = Thing(sizes=node.sizes, pair=node.pair, each=[5])
    assert (made.sizes, made.pair, made.each) == ((1, 2), (3, 4), (5,))
    assert hash(made.sizes)


def test_whole_numbers_in_a_list_of_numbers_become_numbers():
    made = Thing(shares=[0, 1, 0.5])
    assert made.shares == (0, 1, 0.5)
    assert [type(share) for share in made.shares] == [float] * 3


def test_a_number_is_the_name_that_it_spells():
    @configured
    class Named:
        precision: Literal["auto", "32"] = "auto"

    assert Named(precision=32).precision == "32"
    assert Thing(choice=3).choice == 3
    with pytest.raises(InputError, match="allowed: one of auto, 32"):
        Named(precision=16)


def test_defaults_are_checked_too():
    @configured
    class Wrong:
        number: Annotated[float, Range(1)] = 0.0

    with pytest.raises(InputError, match=r"^Wrong.number: got 0.0; allowed: a number >= 1$"):
        Wrong()


@configured
class Pair:
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(f"{type(self).__name__}.low: got too much; allowed: at most high")


def test_a_rule_between_fields_runs_after_the_fields_are_checked():
    assert Pair(high=5).high == 5
    with pytest.raises(InputError, match="at most high"):
        Pair(low=2)
    with pytest.raises(InputError, match=r"^Pair.low: got 'x'"):
        Pair(low="x")


def test_the_rule_between_a_parents_fields_holds_for_a_child_without_one():
    @configured
    class Lower(Pair):
        depth: Annotated[int, Range(1)] = 1

    assert Lower(depth=2, high=3).high == 3
    with pytest.raises(InputError, match=r"^Lower.low: got too much"):
        Lower(low=2)
    with pytest.raises(InputError, match=r"^Lower.depth"):
        Lower(low=2, depth=0)


def test_fields_of_a_parent_class_are_checked_by_their_own_annotations():
    @configured
    class Child(Other):
        depth: Annotated[int, Range(1)] = 1

    assert Child(name="x", depth=2).depth == 2
    with pytest.raises(InputError, match=r"^Child.name"):
        Child(name=1)
    with pytest.raises(InputError, match=r"^Child.depth"):
        Child(depth=0)


def test_configured_things_are_frozen_equal_by_value_and_named_only():
    made = Thing(whole=3)
    assert made == Thing(whole=3) != Thing(whole=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.whole = 4
    with pytest.raises(TypeError):
        Other("x")
    with pytest.raises(TypeError):
        Other(colour="x")


def test_changing_a_field_checks_again():
    with pytest.raises(InputError):
        dataclasses.replace(Thing(), between=2.0)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Range(0), ">= 0"),
        (Range(0, 1), ">= 0 and <= 1"),
        (Range(0, 1, exclusive_low=True, exclusive_high=True), "> 0 and < 1"),
        (Range(None, 2.5), "<= 2.5"),
        (Range(), ""),
    ],
)
def test_a_range_says_what_it_allows(limits, text):
    assert str(limits) == text
