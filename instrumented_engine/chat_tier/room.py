"""What the chat tier offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.chat_tier.chat_door import ChatDoor
from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_chat_tier.py::"

MECHANISMS = (
    Mechanism(
        "history store of the chat tier",
        "each turn reads and writes the conversation; a store that is too slow takes chat down and nothing else",
        "incident-facts 1.1 (2026-03-29: only chat was marked; no saved history)",
        ("flashover:chat_operations", "flashover:chat_operation_wait_seconds", "flashover:chat_refusals", "outcome"),
        _TEST + "test_chat_goes_down_with_its_history_while_the_api_stays_up",
        switches=(Switch("service", "chat_ops_per_s", low=1e-3),),
        settings=("chat_tier.history_ops_per_s", "cohorts.via"),
    ),
    Mechanism(
        "login and sign-up",
        "a flood of sign-ups, or everybody logging in at once after their tokens were lost, takes the login down",
        "incident-facts 1.2 (January 2025: login and sign-up down, registrations limited), 1.1 (failed logins)",
        ("flashover:chat_sign_ups", "flashover:chat_operations", "flashover:chat_refusals"),
        _TEST + "test_a_flood_of_sign_ups_locks_users_out",
        operations=(Operation("chat", "log_everybody_out"),),
        settings=("chat_tier.logins_per_s", "chat_tier.login_ttl_s", "chat_tier.sign_up_logins"),
    ),
    Mechanism(
        "front queue of the chat tier",
        "so many conversations at one time; more are told that the server is busy",
        "incident-facts 1.1 (server busy on new chats)",
        ("flashover:chat_inflight", "flashover:chat_refusals", "outcome"),
        _TEST + "test_a_full_front_says_busy",
        switches=(Switch("chat", "chat_concurrency", low=1),),
        settings=("chat_tier.max_concurrency",),
    ),
)


def entities(scenario: Scenario) -> Iterator[str]:
    """The chat tier and its services."""
    if scenario.chat_tier is not None:
        yield from ("chat:main", "service:login", "service:history")


def problems(scenario: Scenario) -> Iterator[str]:
    """Chat cohorts without chat tier, and the other way round."""
    chat = [cohort.name for cohort in scenario.cohorts if cohort.via == "chat"]
    if chat and scenario.chat_tier is None:
        yield f"cohorts.via = 'chat' ({', '.join(chat)}): this scenario has no [chat_tier]; add one, or use via = \"api\""
    if not chat and scenario.chat_tier is not None:
        yield "chat_tier: no cohort comes this way; set cohorts.via = \"chat\""


def install(cluster: Cluster) -> None:
    """Put the chat tier before whatever clients come to now."""
    if cluster.scenario.chat_tier is None:
        return
    door = ChatDoor("service:chat", cluster, cluster.front, cluster.scenario.chat_tier)
    gateways = [region.site.gateway for region in cluster.regions]
    cluster.add("service:chat", door, door.measures, calls=["service:login", "service:history", *gateways])
    cluster.add("chat:main", door, of="service:chat")
    cluster.add("service:login", door.login, door.login.measures)
    cluster.add("service:history", door.history, door.history.measures)
    cluster.front = door


ROOM = Room(MECHANISMS, install, entities, problems)
