"""Which telemetry holds what users and models wrote to each other. The store keeps it only when its owner asks for it.

Three places are known. Attributes by key: OpenTelemetry's ``gen_ai.*``, OpenInference's ``llm.*`` and ``input.value``,
OpenLLMetry's ``traceloop.entity.*``, Vercel's ``ai.*``, and the bare names that servers use. Events by name: those of
OpenTelemetry's GenAI conventions carry messages as body or attributes. Lines of server logs: vLLM and SGLang quote prompt,
output and their token ids when request logging is on; the quotes go, the rest of the line stays.
Token counts, ids, roles and finish reasons are no text. A key that nobody knows is not found: text in an attribute of a
user's own naming stays.
"""

from __future__ import annotations

import re
from functools import lru_cache

from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collectors.decode.limits import Drops, Limits

CUT = "[text removed]"
"""What stands in a log line where text was quoted."""

EVENT_NAME_KEY = "event.name"
"""Attribute that held an event's name before OTLP had a field for it."""

_KEYS = re.compile(r"""
    gen_ai\.(
        (prompts?|completions?) (\.\d+ (\.(content|text|tool_calls)(\..*)?)?)?
        | (prompt|completion) \.(content|text|messages|variables?|template)(\..*)?
        | (input|output) (\.(messages?|text|content|value)(\..*)?)?
        | (request|response)\.(messages?|text|content|prompt)(\..*)?
        | (system_instructions|content)(\..*)? | event\.content | (user|system|assistant|tool)\.message(\..*)? | choice
        | tool\.(definitions|(call\.)?(arguments|result|input|output|parameters|response))(\..*)?
        | agent\.(input|output) | retrieval\.(query\.text|documents(\..*)?) | evaluation\.explanation
        | (input|output|prompt|completion)_(token_ids|messages|text)
    )
    | llm\.(
        (prompts?|completions?|input_messages|output_messages|system_prompt) (\.(?!.*(role|finish_reason)$).*)?
        | prompt_template\.(template|variables)(\..*)? | (request|response)\.(text|content|prompt|messages?)(\..*)?
        | tools\..* | function_call
    )
    | (input|output)\.value
    | (messages?|document|reranker|retrieval|embedding|tool_call|tool)\.(.*\.)?(
        (contents?|documents|(input|output)_documents)(\..*)? | text | query | arguments | parameters
    )
    | traceloop\.(entity\.(input|output) | prompt\.template(_variables)?(\..*)?)
    | (langfuse\.(\w+\.)?|mlflow\.span|langsmith\.)(inputs?|outputs?)(\..*)? | lk\.(input_text|chat_ctx|response\.text)
    | ai\.(
        prompt(\..*)? | (response|result|stream)\.(text|object|reasoning|toolcalls)(\..*)?
        | toolcall\.(args|input|result|output) | values? | embeddings?
    )
    | (pydantic_ai\.)?all_messages(_events)? | model_(request|response)_messages | tool_(arguments|response)
    | gcp\.vertex\.agent\.(llm_request|llm_response|tool_call_args|tool_response|data)
    | ((vllm|sglang|trtllm|tgi)\.)?(
        prompts? | completions? | (prompt|completion|generated|input|output)_text | (input|output)_(messages|ids)
        | (system|user)_prompt | (prompt|output|input|completion)_token_ids | chat_history
    )
    | messages
""", re.VERBOSE | re.IGNORECASE | re.DOTALL)

_EVENTS = re.compile(
    r"gen_ai\.((user|system|assistant|tool)\.message|choice|client\.inference\.operation\.details|content\.(prompt|completion)"
    r"|prompt|completion|evaluation\.result|system_instructions|(input|output)\.messages)", re.IGNORECASE)

_OF_EVENTS = re.compile(
    r"(content|contents|message|messages|body|text|parts|tool_calls|arguments|input|output|result|reasoning)(\..*)?",
    re.IGNORECASE | re.DOTALL)

_NAMES = (r"prompts?|completions?|messages|(?:prompt|output|input|completion)_token_ids|(?:input|output)_ids"
          r"|(?:prompt|generated|input|output)_text|system_prompt|user_prompt")
_MORE_NAMES = r"|texts?|inputs?|outputs?|contents?|delta_text|reasoning_content|arguments"
_FIELD = r"(?<![\w.])(?:{})(?:\\?[\"'])?\s*[:=]\s*(?:array|tensor)?(?=[\\\"'\[{{(])"
_ALWAYS = re.compile(_FIELD.format(_NAMES), re.IGNORECASE)
_IN_REQUESTS = re.compile(_FIELD.format(_NAMES + _MORE_NAMES), re.IGNORECASE)
_REQUEST = re.compile(
    r"received request |request \S+ details|generated response |receive: |finish: |request\.(received|finished)", re.IGNORECASE)
_LONGEST_NAME = 200
_CLOSING = {"[": "]", "{": "}", "(": ")"}


def holds_text(key: str, event_name: str = "") -> bool:
    """Whether an attribute of this key holds prompt or completion text; ``event_name``: of the event or log it is in."""
    if len(key) > _LONGEST_NAME or len(event_name) > _LONGEST_NAME:
        key, event_name = key[:_LONGEST_NAME], event_name[:_LONGEST_NAME]
    return _holds_text(key, event_name)


def body_holds_text(event_name: str) -> bool:
    """Whether the body of a log record of this event name is prompt or completion text as a whole."""
    return _EVENTS.fullmatch(event_name) is not None


def event_name_of(record: LogRecord) -> str:
    """The event name of a log record, from its field or the older attribute; empty without one."""
    name = record.event_name
    if not name:
        for attribute in record.attributes:
            if attribute.key == EVENT_NAME_KEY:
                name = attribute.value.string_value
    return name


def without_quotes(line: str, drops: Drops) -> str:
    """A log line without the texts and token ids that it quotes; each is counted as ``prompt_text``."""
    field = _IN_REQUESTS if _REQUEST.search(line) else _ALWAYS
    kept: list[str] = []
    begin = 0
    while found := field.search(line, begin):
        kept += line[begin : found.end()], CUT
        begin = _end_of_literal(line, found.end())
        drops["prompt_text"] += 1
    return "".join(kept) + line[begin:] if kept else line


def strip(message: Message, limits: Limits, drops: Drops) -> None:
    """Take all text out of a span, log record, metric or data point, in place, unless it is to be kept.

    Fields that the official classes do not know go too: nobody knows what they hold.
    """
    if not limits.keep_text:
        message.DiscardUnknownFields()
        _strip(message, drops)


@lru_cache(maxsize=16_384)
def _holds_text(key: str, event_name: str) -> bool:
    return _KEYS.fullmatch(key) is not None or (
        _EVENTS.fullmatch(event_name) is not None and _OF_EVENTS.fullmatch(key) is not None)


def _strip(message: Message, drops: Drops) -> None:
    if isinstance(message, AnyValue):
        _strip_value(message, drops)
        return
    event_name = (event_name_of(message) if isinstance(message, LogRecord)
                  else message.name if isinstance(message, Span.Event) else "")
    if isinstance(message, LogRecord) and message.HasField("body"):
        if body_holds_text(event_name):
            message.ClearField("body")
            drops["prompt_text"] += 1
        elif message.body.string_value:
            message.body.string_value = without_quotes(message.body.string_value, drops)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type is KeyValue.DESCRIPTOR:
            _strip_pairs(value, event_name, drops)
        for inner in value if hasattr(value, "add") else [value]:
            _strip(inner, drops)


def _strip_value(value: AnyValue, drops: Drops) -> None:
    which = value.WhichOneof("value")
    if which == "array_value":
        for item in value.array_value.values:
            _strip_value(item, drops)
    elif which == "kvlist_value":
        _strip_pairs(value.kvlist_value.values, "", drops)
        for pair in value.kvlist_value.values:
            _strip_value(pair.value, drops)


def _strip_pairs(pairs: list[KeyValue], event_name: str, drops: Drops) -> None:
    for at in range(len(pairs) - 1, -1, -1):
        if holds_text(pairs[at].key, event_name):
            del pairs[at]
            drops["prompt_text"] += 1


def _end_of_literal(line: str, begin: int) -> int:
    """Where the quoted string, list or map that starts at ``begin`` ends.

    The line's end when it is cut off, or when its quotes are escaped: it is then within another string.
    """
    if line[begin] == "\\":
        return len(line)
    expected: list[str] = []
    at = begin
    while at < len(line):
        letter = line[at]
        if letter in "\"'":
            at = _end_of_string(line, at)
        else:
            if letter in _CLOSING:
                expected.append(_CLOSING[letter])
            elif letter == expected[-1]:
                expected.pop()
            at += 1
        if not expected:
            return at
    return len(line)


def _end_of_string(line: str, begin: int) -> int:
    quote, at = line[begin], begin + 1
    while at < len(line):
        if line[at] == "\\":
            at += 2
        elif line[at] == quote:
            return at + 1
        else:
            at += 1
    return len(line)
