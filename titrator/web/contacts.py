"""Where somebody is told: an address for each gateway of the clinics. A patient's page and one's own use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from titrator.titration.errors import Fault
from titrator.web.forms import Choices, Form
from titrator.web.language import lazy_gettext as _l


class ContactsForm(Form):
    """The gateways in a row, and the address at each; an empty one is none."""

    SHOWN_AT = {"items": "address"}  # noqa: RUF012 (as Meta of a form)

    gateway = Choices()
    address = Choices(_l("Addresses"))

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The contacts, as REST takes them."""
        pairs = zip(self.gateway.data or [], self.address.data or [], strict=False)
        items = [{"gateway": gateway, "address": said.strip()} for gateway, said in pairs if said.strip()]
        return {"items": items}, []


class At(NamedTuple):
    """A gateway, and the address there: as it was filled in, else as it is stored."""

    gateway: Mapping[str, object]
    by_mail: bool
    address: str


def addresses(
    form: ContactsForm, gateways: Iterable[Mapping[str, object]], stored: Iterable[Mapping[str, object]]
) -> list[At]:
    """The lines of the form."""
    there = {str(one["gateway"]): str(one["address"]) for one in stored}
    if form.is_submitted():
        there = dict(zip(form.gateway.data or [], form.address.data or [], strict=False))
    return [At(one, str(one["scheme"]).startswith("mailto"), there.get(str(one["id"]), "")) for one in gateways]
