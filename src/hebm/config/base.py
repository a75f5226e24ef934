"""What every section of a configuration is: immutable, unknown keys refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Config", "Probability"]

Probability = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
