"""Who may hear what an adapter learned."""

from __future__ import annotations

import pytest

from alchemy.errors import AlchemyError, ErrorCode
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
    principal = Principal("ann", tenant, groups)
    if heard:
        voice.require(principal)
        return
    with pytest.raises(AlchemyError) as caught:
        voice.require(principal)
    assert caught.value.code is ErrorCode.FORBIDDEN


def test_a_base_without_an_adapter_speaks_to_everyone() -> None:
    Voice("base", "b" * 64).require(Principal("ann", "elsewhere", ("everyone",)))
