"""OTLP over HTTP, and the collector's own /metrics and /health: an ASGI application.

A request is refused as soon as it is known to be wrong: before its body is read, where its headers tell.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collectors.receive.admission import Admission
from collectors.receive.bad_request import HTTP_STATUS, RPC_CODE, BadRequest, outcome_of
from collectors.receive.bearer import Bearer
from collectors.receive.door import Refused
from collectors.receive.http_connection import REFUSED
from collectors.receive.request_body import Gone, RequestBody
from collectors.receive.rpc_status import status_json, status_protobuf
from collectors.receive.unpacking import ENCODINGS, encoding_of
from collectors.service.own_metrics import Outcome, OwnMetrics
from collectors.service.vitals import Vitals
from collectors.sink import SIGNALS, Signal

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_PATHS: Mapping[str, Signal] = {f"/v1/{signal}": signal for signal in SIGNALS}
_CODES_OF_STATUS = {404: 5, 405: 12}
_PAGES = ("/health", "/metrics")


class HttpReceiver:
    """``vitals`` is asked when a page is. Every request but those for pages is counted in ``metrics``. ``timeout_s``: for a
    whole request.

    /health needs no token, as those who ask are simple; without the token it only says whether there are problems.
    """

    def __init__(self, admission: Admission, metrics: OwnMetrics, vitals: Callable[[], Vitals], bearer: Bearer,
                 timeout_s: float) -> None:
        self._admission = admission
        self._metrics = metrics
        self._vitals = vitals
        self._bearer = bearer
        self._timeout_s = timeout_s
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        body = RequestBody(scope, headers, receive, self._timeout_s)
        if scope["path"] in _PAGES and scope["method"] in ("GET", "HEAD"):
            await self._answer(self._page(scope["path"], headers), body, send)
        else:
            await self._intake(scope, headers, body, send)

    async def _intake(self, scope: Scope, headers: Headers, body: RequestBody, send: Send) -> None:
        """Take one body, or say why not."""
        try:
            response = await self._counted(scope, headers, body)
        except Exception:
            await self._answer(_failure(headers, "error", "the collector failed; its log says why", 500), body, send)
            raise
        if response is not None:
            await self._answer(response, body, send)

    async def _counted(self, scope: Scope, headers: Headers, body: RequestBody) -> Response | None:
        """What to answer, None when there is no one to answer; counted before that, whatever happens."""
        signal = _PATHS.get(scope["path"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome: Outcome = "error"
        try:
            outcome = await self._taken(scope, signal, headers, body)
            return _success(headers)
        except BadRequest as bad:
            outcome = bad.outcome
            response = _failure(headers, outcome, str(bad), bad.status)
            if bad.status == 405:
                response.headers["allow"] = "POST" if signal else "GET, HEAD"
            return response
        except Refused as refused:
            outcome = outcome_of(refused)
            return _failure(headers, outcome, str(refused), HTTP_STATUS[outcome], refused.retry_after_s)
        except (Gone, asyncio.CancelledError) as ended:
            outcome = scope.get("state", {}).get(REFUSED, "timed_out") if isinstance(ended, Gone) else "stopping"
            return None
        finally:
            self._metrics.received("http", signal, outcome, body.size, loop.time() - began)

    async def _taken(self, scope: Scope, signal: Signal | None, headers: Headers, body: RequestBody) -> Outcome:
        if signal is None and scope["path"] not in _PAGES:
            raise BadRequest("unsupported", f"nothing is here; OTLP goes to {', '.join(_PATHS)}", 404)
        if signal is None or scope["method"] != "POST":
            raise BadRequest("unsupported", "this method is not answered here", 405)
        self._bearer.check(headers.get("authorization", ""))
        media = _media_type(headers)
        if media not in (PROTOBUF, JSON):
            raise BadRequest("unsupported", f"Content-Type must be {PROTOBUF} or {JSON}")
        encoding = encoding_of(",".join(headers.getlist("content-encoding")))
        try:
            sent = await body.read(self._admission.bounds.wire, self._hold)
            plain = await self._admission.prepare(signal, sent, encoding, json=media == JSON)
        finally:
            self._held -= body.size
        return await self._admission.admit(signal, plain)

    def _hold(self, more: int) -> None:
        self._held += more
        if self._held > self._admission.bounds.held:
            raise Refused("queue_full", 1, "too many bodies are being received; come back")

    def _page(self, path: str, headers: Headers) -> Response:
        known = self._bearer.fits(headers.get("authorization", ""))
        vitals = self._vitals()
        if path == "/health":
            said = {"status": "failing" if vitals.problems else "ok"} | (dataclasses.asdict(vitals) if known else {})
            return Response(json.dumps(said) + "\n", 503 if vitals.problems else 200, media_type=JSON)
        if not known:
            return _failure(headers, "unauthorised", "a valid token is needed: Authorization: Bearer <token>", 401)
        return Response(self._metrics.page(vitals), media_type="text/plain; version=0.0.4")

    async def _answer(self, response: Response, body: RequestBody, send: Send) -> None:
        """Send it. A body that was not read ends the connection: what still comes of it is thrown away for a short while."""
        unread = not body.whole
        if unread:
            response.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": unread})
        if unread:
            if response.status_code != 408:
                await body.throw_away(self._admission.bounds.wire)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _success(headers: Headers) -> Response:
    """An empty Export*ServiceResponse: all was taken."""
    return Response(b"", media_type=PROTOBUF) if _media_type(headers) == PROTOBUF else Response(b"{}", media_type=JSON)


def _failure(headers: Headers, outcome: Outcome, message: str, status: int, retry_after_s: int | None = None) -> Response:
    """google.rpc.Status in the request's own form; JSON when it had neither."""
    code = _CODES_OF_STATUS.get(status, RPC_CODE[outcome])
    if _media_type(headers) == PROTOBUF:
        response = Response(status_protobuf(code, message), status, media_type=PROTOBUF)
    else:
        response = Response(status_json(code, message), status, media_type=JSON)
    if retry_after_s is not None:
        response.headers["retry-after"] = str(retry_after_s)
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if status == 415:
        response.headers["accept-encoding"] = ", ".join(ENCODINGS)
    return response
