"""What a saved plan of Terraform changes, read from its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """What happens to one resource.

    :param module: address of its module; empty for the root module.
    :param kind: type of the resource, such as `aws_kms_key`.
    :param actions: `create`, `update`, `delete`, or two of them for a replacement.
    :param before: its attributes; empty if it is created.
    :param after: its known attributes; empty if it is deleted.
    :param imported: it exists, and Terraform takes it over.
    """

    address: str
    module: str
    kind: str
    actions: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    imported: bool


class Plan:
    """A plan.

    :param document: of `terraform show -json`.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.changes = [
            Change(
                each["address"],
                each.get("module_address", ""),
                each["type"],
                tuple(each["change"]["actions"]),
                each["change"].get("before") or {},
                each["change"].get("after") or {},
                bool(each["change"].get("importing")),
            )
            for each in document.get("resource_changes", ())
            if each["mode"] == "managed" and (each["change"]["actions"] != ["no-op"] or each["change"].get("importing"))
        ]

    def of_kind(self, kind: str, action: str) -> list[Change]:
        """The changes of a type of resource that include an action."""
        return [change for change in self.changes if change.kind == kind and action in change.actions]

    def output(self, name: str) -> str:
        """A planned output; empty if it is known only after the apply."""
        outputs = self._document.get("planned_values", {}).get("outputs", {})
        return str(outputs.get(name, {}).get("value") or "")

    def variable(self, name: str) -> str:
        """A variable that the plan was made with; empty if it is null."""
        return str(self._document.get("variables", {}).get(name, {}).get("value") or "")

    @property
    def settings(self) -> dict[str, str]:
        """The settings of `[cd2]` that the plan was made with."""
        return dict(self._document.get("variables", {}).get("settings", {}).get("value") or {})

    def has(self, kind: str) -> bool:
        """Whether there is a resource of a type when the plan is applied, changed or not."""
        changes = self._document.get("resource_changes", ())
        return any(each["type"] == kind and each["change"].get("after") for each in changes)

    def uploaded(self, key: str) -> str | None:
        """The file that is the object of this key, in whatever folder, when the plan is applied; None if none is."""
        changes = self._document.get("resource_changes", ())
        objects = [each["change"].get("after") or {} for each in changes if each["type"] == "aws_s3_object"]
        return next((str(each["source"]) for each in objects if f"/{each['key']}".endswith(f"/{key}")), None)
