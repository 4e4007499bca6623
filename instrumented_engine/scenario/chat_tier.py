"""The chat tier."""

from __future__ import annotations

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class ChatTier(Strict):
    """The chat service before the API, for cohorts with ``via = "chat"``.

    At most ``max_concurrency`` requests are inside; more are told that the server is busy. A session logs in when it has no
    token or the last one is older than ``login_ttl_s``; the login serves ``logins_per_s``, a sign-up costs ``sign_up_logins``.
    Each turn reads the conversation before and writes it after, in the history store, ``history_ops_per_s``. Either fails after
    ``service_timeout_s``.
    """

    max_concurrency: int = Field(10_000, ge=1)
    logins_per_s: float = Field(200.0, gt=0)
    login_ttl_s: float = Field(3_600.0, gt=0)
    sign_up_logins: float = Field(4.0, gt=0)
    history_ops_per_s: float = Field(2_000.0, gt=0)
    service_timeout_s: float = Field(5.0, gt=0, le=600)
