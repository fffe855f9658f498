"""What every part of the configuration is, and the kinds of number in it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

NUMBERS = (int, float, int | None, float | None)
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration; a misspelt key is an error, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _yes_is_no_number(cls, values):
        if isinstance(values, dict):
            for name, value in values.items():
                field = cls.model_fields.get(name)
                if isinstance(value, bool) and field and field.annotation in NUMBERS:
                    raise ValueError(f"{name} wants a number, found {str(value).lower()}")
        return values
