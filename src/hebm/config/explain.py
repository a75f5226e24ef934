"""Values to a checked model; what is wrong in words that name the fix."""

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hebm.errors import ConfigError

__all__ = ["nearest", "validated"]

Checked = TypeVar("Checked", bound=BaseModel)


def validated(model: type[Checked], values: Mapping[str, Any], source: str) -> Checked:
    """The model of these values.

    Raises:
        ConfigError: If a key is unknown (the nearest known one is named) or a value is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, dict(detail)) for detail in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], detail: dict[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return f"the key {key!r} is unknown.{nearest(key, sorted(_known_keys(model)), last=location[-1])}"
    if detail["type"] == "missing":
        return f"the key {key!r} is missing; add it."
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{key} = {detail['input']!r}: {message}" if key else message


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _sections(field.annotation):
            yield from _known_keys(inner, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (tuple, list, typing.Union, Annotated):
        for inner in get_args(annotation):
            yield from _sections(inner)


def nearest(name: str, known: list[str], *, last: str | None = None) -> str:
    """A hint that names the known key most like a name; ``last`` is the name's own last part."""
    same_leaf = [
        key for key in known if last is not None and key.rsplit(".", 1)[-1] == last
    ]  # in a wrong section
    close = difflib.get_close_matches(name, same_leaf or known, n=1, cutoff=0 if same_leaf else 0.5)
    if not close and last is not None:
        by_leaf = {key.rsplit(".", 1)[-1]: key for key in known}
        close = [by_leaf[leaf] for leaf in difflib.get_close_matches(last, list(by_leaf), n=1, cutoff=0.6)]
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known[:40])}."
