"""The base of every settings model, and the kinds of number in it."""

from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


def described(rule: str) -> WrapValidator:
    """One sentence about a value of several kinds; pydantic has one for each kind.

    Args:
        rule: Begins with `must be`.
    """

    def checked(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise ValueError(rule) from error

    return WrapValidator(checked)


class Section(BaseModel):
    """A group of settings: unknown keys are errors, and nothing changes after construction."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _bool_is_not_a_number(cls, values: Any) -> Any:
        # pydantic would take true for 1. A field validator for all fields cannot do this: pydantic
        # allows none on the `name` of a section with kinds.
        if isinstance(values, dict):
            for name, field in cls.model_fields.items():
                types = types_in(field.annotation)
                if types & {int, float} and bool not in types and _holds_bool(values.get(name)):
                    raise PydanticCustomError(BOOL_FOR_NUMBER, "must be a number", {"field": name})
        return values


BOOL_FOR_NUMBER = "bool_for_number"
"""Type of the error about true or false in place of a number; its context names the field."""


def _holds_bool(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(one, bool) for one in value)
    return isinstance(value, bool)


def refuse_bool(value: Any) -> Any:
    """Refuse true and false as a number inside a mapping, which `Section` does not look into."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def types_in(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of, without those inside a mapping."""
    if getattr(annotation, "__origin__", None) is dict:
        return {dict}
    inner = get_args(annotation)
    return set().union(*map(types_in, inner)) if inner else {annotation}
