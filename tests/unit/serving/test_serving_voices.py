"""Who may hear what an adapter learned."""

from __future__ import annotations

import pytest

from alchemy.serving.voices import Voice
from alchemy.types import Principal

META = {"tenants": ["default"], "acl": [["everyone"], ["board", "core"]]}


@pytest.mark.parametrize(
    ("tenant", "groups", "heard"),
    [
        ("default", ("everyone", "core"), True),
        ("default", ("everyone", "board"), True),
        ("default", ("everyone",), False),
        ("elsewhere", ("everyone", "core"), False),
    ],
)
def test_an_adapter_speaks_only_to_who_may_read_all_it_learned_from(
    tenant: str, groups: tuple[str, ...], heard: bool
) -> None:
    voice = Voice.of_adapter("ad-1", "d" * 64, META)
    assert voice.may_speak_to(Principal("ann", tenant, groups)) is heard


def test_a_base_without_an_adapter_speaks_to_everyone() -> None:
    stranger = Principal("ann", "elsewhere", ("everyone",))
    assert Voice("base", "b" * 64).may_speak_to(stranger)
