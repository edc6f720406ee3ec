"""`traffic.authorization` and `frontend.networkAuthorization`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.model.base import Model, Text


class CelMatchSpec(Model):
    """`authorization.policy`."""

    match_expressions: Annotated[tuple[Text, ...], Field(min_length=1, max_length=256)]
    """CEL. Every entry is a rule of its own."""


class AuthorizationSpec(Model):
    """`traffic.authorization`."""

    action: Literal["Allow", "Deny", "Require"] = "Allow"
    policy: CelMatchSpec
