"""Base classes of the pydantic models: frozen and strict, kebab-case keys, errors in migsim's three parts.

`Declared` is the base of what a user declares (`migsim.scenario`); `RecordedModel` of what is fitted and kept as JSON
(`migsim.workload`, `migsim.profiles`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from migsim.errors import MigsimError, ScenarioError, UnitError, near_misses
from migsim.files import write_text_atomically
from migsim.reading import parse_json, read_file_text
from migsim.units import parse_bytes, parse_duration_s

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # pydantic keeps its name private

__all__ = ["Bytes", "Declared", "RecordedModel", "Seconds"]

Bytes = Annotated[int, BeforeValidator(lambda value: _read(parse_bytes, value))]
"""A size in bytes; text with a unit (``"1GiB"``) is converted."""
Seconds = Annotated[float, BeforeValidator(lambda value: _read(parse_duration_s, value))]
"""A time in seconds; text with a unit (``"300ms"``) is converted."""


def _read(parse: Any, value: Any) -> Any:
    try:
        return parse(value)
    except UnitError as error:  # pydantic reports a ValueError with the key that it belongs to
        raise ValueError(f"{error.rule} {error.todo}") from None


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _MigsimErrors(ModelMetaclass):
    """Translates what the constructor raises into migsim's errors.

    Overriding ``__init__`` instead would lose the keys that lead to a nested model.
    """

    def __call__(self, *args: Any, **data: Any) -> Any:
        try:
            return super().__call__(*args, **data)
        except ValidationError as error:
            raise _translate(error, cast("type[Declared]", self)) from None


class Declared(BaseModel, metaclass=_MigsimErrors):
    """Base of all models: immutable, refuses unknown keys, raises migsim's errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_kebab,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    _error: ClassVar[type[MigsimError]] = ScenarioError
    _what: ClassVar[str] = "The scenario"

    @classmethod
    def from_dict(cls, data: Any, *, where: str = "") -> Self:
        """Read plain data, as TOML and JSON hold it; `where` (a file) begins an error's text.

        Raises
        ------
        ScenarioError
            (ProfileError for a host profile) With the key, the rule, and known keys like it.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _translate(error, cls, where) from None
        except MigsimError as error:  # raised by a validator, such as that of migration settings
            raise type(error)(
                f"{where}: {error.what}" if where else error.what, error.rule, error.todo
            ) from None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data with kebab-case keys, without the fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with changed fields; all fields are validated again.

        Examples
        --------
        >>> from migsim.scenario import PageClass
        >>> PageClass(base_page=0, pages=100, share=1).replace(pages=50).pages
        50
        """
        kept = {name: getattr(self, name) for name in type(self).model_fields if name not in changes}
        return type(self)(**kept, **changes)


class RecordedModel(Declared):
    """Base of fitted models, kept as JSON with a format name and a version."""

    _format: ClassVar[str] = ""
    _version: ClassVar[int] = 1

    def save(self, path: str | Path) -> None:
        """Write the model as JSON, whole or not at all.

        Raises
        ------
        HostError
            When the file cannot be written.
        """
        data = {"format": self._format, "version": self._version} | self.as_dict()
        write_text_atomically(path, json.dumps(data, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote.

        Raises
        ------
        ScenarioError
            (ProfileError for a host profile) Where the file is missing, cut short, of another format or version.
        """
        data = parse_json(read_file_text(path, cls._error), str(path), cls._error)
        if not isinstance(data, dict) or data.get("format") != cls._format:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise cls._error(
                f"{path} is no {cls._format} file (its format is {found!r}).",
                f'{cls._what} starts with "format": {cls._format!r}.',
                "Check the path.",
            )
        if data.get("version") != cls._version:
            raise cls._error(
                f"{path} has version {data.get('version')!r}.",
                f"This migsim reads version {cls._version} of {cls._format}.",
                "Update migsim, or make the file again.",
            )
        kept = {key: value for key, value in data.items() if key not in ("format", "version")}
        return cls.from_dict(kept, where=str(path))


def _translate(error: ValidationError, model: type[Declared], where: str = "") -> MigsimError:
    """Make a migsim error (what, rule, todo) of the first problem that pydantic reports."""
    problems = error.errors(include_url=False)
    # A misspelled key is reported as one unknown and one missing key; only the unknown one shows the mistake.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in first["loc"])
    file = f"{where}: " if where else ""
    more = f" ({len(problems) - 1} more like this.)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        hint = near_misses(str(first["loc"][-1]), known) or f"Known: {', '.join(known)}."
        return model._error(f"{file}{place} is unknown.", f"{model._what} has no such key.", hint + more)
    if first["type"] == "missing":
        return model._error(f"{file}{place} is missing.", f"{model._what} needs it.", f"Add it.{more}")
    # A contradiction between several keys has no single value to show.
    value = "contradicts itself" if isinstance(first["input"], dict) else f"is {_short(first)}"
    return model._error(
        f"{file}{place or model._what} {value}.", _sentence(first["msg"]), f"Correct it.{more}"
    )


def _short(problem: ErrorDetails) -> str:
    text = repr(problem["input"])
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sentence(text: str) -> str:
    text = text.removeprefix("Value error, ").strip()
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _keys_at(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that `model` knows at the end of `path`."""
    for part in path:
        if isinstance(part, int):
            continue
        fields = model.model_fields
        field = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        inner = _model_within(field.annotation) if field is not None else None
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_within(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_within(argument)
        if found is not None:
            return found
    return None
