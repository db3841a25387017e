"""Arguments: what programs give the library, held to its types, so that a wrong one is told in one line."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ParamSpec, TypeVar

from pydantic import BeforeValidator, ConfigDict, GetPydanticSchema, PlainValidator, ValidationError, validate_call

from ganservice.errors import RequestError
from ganservice.mistakes import describe_mistake, one_line, shown

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Have the arguments of a function held to its annotations: it raises RequestError of one that does not fit."""
    signature = inspect.signature(function)
    names = list(signature.parameters)
    annotations = function.__annotations__
    # Not that of what is returned, which may be known to type checkers alone.
    function.__annotations__ = {name: kind for name, kind in annotations.items() if name != "return"}
    validated = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    function.__annotations__ = annotations

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        signature.bind(*args, **kwargs)  # raises Python's own TypeError of a name that is none
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            mistakes = error.errors()
            first = mistakes[0]["loc"][0]
            name = names[first] if isinstance(first, int) else first
            text = describe_mistake(name, *(each for each in mistakes if each["loc"][0] == first))
            raise RequestError(one_line(text)) from error

    return call


def one_of(words: str, *kinds: type) -> PlainValidator:
    """Let through, as it is, what is of one of these kinds; `words` say what they are."""

    def check(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise ValueError(f"found {shown(value)}, expected {words}")  # noqa: TRY004 # as pydantic has it
        return value

    return PlainValidator(check)


def _not_one(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f"found {shown(value)}, expected a list: [{shown(value)}]")  # noqa: TRY004 # as above
    return value


# Several words; a single one would be taken for its letters.
Words = Annotated[
    Iterable[str],
    GetPydanticSchema(lambda _, handler: handler.generate_schema(tuple[str, ...])),
    BeforeValidator(_not_one),
]
