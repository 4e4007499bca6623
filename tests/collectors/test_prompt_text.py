"""Prompt and completion text is known by its place, leaves every message, and takes nothing else with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collectors.decode.attributes import body_text, text_map
from collectors.decode.limits import Drops, Limits
from collectors.decode.log_batch import MAY_QUOTE
from collectors.decode.prompt_text import (
    CUT,
    body_holds_text,
    event_name_of,
    holds_text,
    strip,
    without_quotes,
)
from collectors.schema import SPANS

TEXT_KEYS = """
gen_ai.prompt gen_ai.completion gen_ai.prompt.0.content gen_ai.completion.3.content gen_ai.completion.0.tool_calls.1.arguments
gen_ai.input.messages gen_ai.output.messages gen_ai.system_instructions gen_ai.tool.definitions gen_ai.tool.call.arguments
gen_ai.tool.call.result gen_ai.content.prompt gen_ai.content.completion gen_ai.event.content gen_ai.retrieval.query.text
llm.prompts llm.prompts.0.content llm.completions llm.input_messages.0.message.content llm.output_messages.0.message.content
llm.input_messages llm.prompt_template.template llm.prompt_template.variables llm.tools.0.tool.json_schema
input.value output.value message.content retrieval.documents.2.document.content document.content embedding.text
embedding.embeddings.0.embedding.text reranker.query reranker.input_documents.0.document.content tool.parameters
tool_call.function.arguments traceloop.entity.input traceloop.entity.output langfuse.observation.input langfuse.trace.output
mlflow.spanInputs mlflow.spanOutputs ai.prompt ai.prompt.messages ai.response.text ai.response.toolCalls ai.toolCall.args
ai.toolCall.result pydantic_ai.all_messages all_messages_events gcp.vertex.agent.llm_request gcp.vertex.agent.tool_response
prompt prompts completion prompt_token_ids output_token_ids generated_text input_ids messages GEN_AI.PROMPT vllm.prompt
""".split()
OTHER_KEYS = """
gen_ai.usage.prompt_tokens gen_ai.usage.completion_tokens gen_ai.usage.input_tokens gen_ai.usage.output_tokens
gen_ai.usage.cache_read.input_tokens gen_ai.request.model gen_ai.request.max_tokens gen_ai.request.choice.count
gen_ai.request.id
gen_ai.response.id gen_ai.response.finish_reasons gen_ai.operation.name gen_ai.provider.name gen_ai.system gen_ai.output.type
gen_ai.conversation.id gen_ai.tool.name gen_ai.tool.call.id gen_ai.tool.type gen_ai.prompt.name gen_ai.prompt.0.role
gen_ai.completion.0.role gen_ai.completion.0.finish_reason gen_ai.latency.time_to_first_token gen_ai.token.type
llm.usage.total_tokens llm.token_count.prompt llm.token_count.completion llm.model_name llm.request.type
llm.input_messages.0.message.role input.mime_type output.mime_type message.type messaging.message.id tool.name
traceloop.entity.name traceloop.span.kind ai.usage.promptTokens ai.usage.completionTokens ai.model.id ai.toolCall.name
http.request.body.size exception.message exception.stacktrace event.name content message text output input prompt_tokens
num_prompt_tokens prompt_len embedding.model_name flashover.prompt_blocks user.id service.name
""".split()
GENAI_EVENTS = """
gen_ai.user.message gen_ai.system.message gen_ai.assistant.message gen_ai.tool.message gen_ai.choice
gen_ai.client.inference.operation.details gen_ai.content.prompt gen_ai.content.completion
""".split()


@pytest.mark.parametrize("key", TEXT_KEYS)
def test_keys_of_text_are_known(key: str) -> None:
    assert holds_text(key)


@pytest.mark.parametrize("key", OTHER_KEYS)
def test_counts_ids_and_names_are_no_text(key: str) -> None:
    assert not holds_text(key)


def test_no_key_of_the_contract_is_text() -> None:
    keys = [key.strip() for column in SPANS.columns for key in column.source.split(",")]
    assert not [key for key in keys if holds_text(key)]


@pytest.mark.parametrize("name", GENAI_EVENTS)
def test_what_events_of_messages_hold_is_text(name: str) -> None:
    """Their bodies, and attributes whose plain names mean nothing elsewhere."""
    assert body_holds_text(name) and holds_text("content", name) and holds_text("message", name)
    assert not holds_text("id", name) and not holds_text("gen_ai.system", name) and not holds_text("role", name)


@pytest.mark.parametrize("name", ["", "exception", "gen_ai.evaluation", "flashover.step", "gen_ai.client.token.usage"])
def test_other_events_keep_body_and_content(name: str) -> None:
    assert not body_holds_text(name) and not holds_text("content", name)


@given(st.text(), st.text(max_size=9))
@example("gen_ai.prompt." + "0." * 50_000, "")
@example("message." + "content." * 20_000 + "\n", "")
def test_any_name_gets_an_answer(key: str, name: str) -> None:
    assert holds_text(key, name) in (True, False) and body_holds_text(key) in (True, False)


# At most 127 bytes, the longest length that one byte can tell; "safe" is the word that must stay, and may not be in them.
SECRETS = st.text(max_size=28).filter(lambda noise: "safe" not in noise).map(lambda noise: f"SECRET{noise}TERCES")
VLLM = [
    "Received request cmpl-1: prompt: {!r}, params: SamplingParams(n=1, k=0), prompt_token_ids: [1], lora_request: None.",
    "INFO [logger.py:39] Received request chatcmpl-9: prompt: {!r}, params: SamplingParams(n=1), prompt_token_ids: None.",
    "Request chatcmpl-1 details: prompt: {!r}, prompt_token_ids: [1, [2], 3], prompt_embeds shape: None.",
    "Generated response chatcmpl-1 (streaming complete): output: {!r}, output_token_ids: [5, 6], finish_reason: stop"]
SGLANG = [
    "Receive: obj=GenerateReqInput(rid='a', text={!r}, input_ids=[1, 2], sampling_params={{'n': 1}}, stream=True)",
    "Finish: obj=GenerateReqInput(rid='a', text=None), out={{'text': {!r}, 'output_ids': [4, 5], 'meta_info': {{'id': 'a'}}}}"]


@given(st.sampled_from([*VLLM, *SGLANG]), SECRETS)
@example(VLLM[0], "it's \"both\" \\ and \\' SECRET', params: x")
@settings(max_examples=200)
def test_server_logs_lose_what_they_quote_and_nothing_else(line: str, secret: str) -> None:
    drops = Drops()
    cut = without_quotes(line.format(secret), drops)
    assert "SECRET" not in cut and cut.count(CUT) == drops["prompt_text"] >= 1
    for kept in ("cmpl-1", "SamplingParams(n=1", "lora_request: None.", "prompt_embeds shape: None", "finish_reason: stop",
                 "rid='a'", "stream=True)", "'meta_info': {'id': 'a'}}"):
        assert (kept in cut) == (kept in line.format(""))
    assert without_quotes(cut, Drops()) == cut


@given(SECRETS, st.integers(0, 40))
def test_a_quote_that_is_cut_off_goes_to_the_end(secret: str, lost: int) -> None:
    """Log lines are cut anywhere, and prompts in JSON within JSON cannot be told apart from what follows."""
    line = "Received request cmpl-1: prompt: " + repr(secret)[: len(repr(secret)) - lost % len(repr(secret))]
    assert "SECRET" not in without_quotes(line, Drops())
    inner = json.dumps({"request": json.dumps({"id": 1, "prompt": secret, "n": 1})})
    assert "SECRET" not in without_quotes(inner, Drops())


@given(SECRETS, SECRETS)
def test_json_lines_lose_prompts_and_messages(one: str, two: str) -> None:
    line = json.dumps({"id": "q7", "prompt": one, "messages": [{"role": "user", "content": two}], "max_tokens": 9})
    drops = Drops()
    cut = without_quotes(line, drops)
    assert "SECRET" not in cut and '"id": "q7"' in cut and cut.endswith(', "max_tokens": 9}') and drops["prompt_text"] == 2


ORDINARY = [
    "Avg prompt throughput: 10.1 tokens/s, Avg generation throughput: 3.0 tokens/s", "prompt too long: 9000 > 8192",
    "content: 'text/html'", "INFO: 127.0.0.1 - \"POST /v1/completions HTTP/1.1\" 200 OK", "prompt_tokens: 17, output: 'ready'",
    "Xid 79: GPU has fallen off the bus", "text='replica is up'", "", "prompts: None", "prompt: 5"]


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    drops = Drops()
    assert without_quotes(line, drops) == line and not drops


@given(st.text() | st.from_regex(r"([\"'{\[(]|prompt|text|: |=|Receive: |messages|\\)*", fullmatch=True))
@settings(max_examples=200)
def test_any_line_is_cut_in_time_and_only_when_it_may_quote(line: str) -> None:
    drops = Drops()
    cut = without_quotes(line, drops)
    assert cut.count(CUT) >= drops["prompt_text"] and (cut == line) == (not drops)
    assert cut == line or re.search(MAY_QUOTE, line)


def pair(key: str, value: AnyValue) -> KeyValue:
    return KeyValue(key=key, value=value)


def words(text: str) -> AnyValue:
    return AnyValue(string_value=text)


def nested(text: str) -> AnyValue:
    """A map in a list in a map, with text at the end."""
    value = AnyValue()
    inner = value.kvlist_value.values.add(key="choices").value.array_value.values.add().kvlist_value
    inner.values.add(key="gen_ai.completion", value=words(text))
    inner.values.add(key="index", value=AnyValue(int_value=0))
    return value


def everything(text: str) -> Iterator[tuple[Message, int]]:
    """Messages with text in all of their places, and in how many."""
    private = [pair("gen_ai.prompt", words(text)), pair("safe", words("safe")), pair("deep", nested(text))]
    span = Span(name="safe", attributes=private)
    span.events.add(name="gen_ai.choice", attributes=[pair("message", words(text)), pair("index", words("safe"))])
    span.links.add(attributes=private)
    yield span, 5
    yield LogRecord(body=words(f"safe prompt: {text!r}"), attributes=private), 3
    yield LogRecord(body=nested(text), attributes=[pair("safe", words("safe"))]), 1
    yield LogRecord(event_name="gen_ai.user.message", body=words(text), attributes=[pair("content", words(text)),
                                                                                  pair("id", words("safe"))]), 2
    yield LogRecord(body=words(text), attributes=[pair("event.name", words("gen_ai.choice")), pair("safe", words("safe"))]), 1
    metric = Metric(name="safe")
    metric.gauge.data_points.add(attributes=private).exemplars.add(filtered_attributes=private)
    yield metric, 4
    unknown = b"\xaa\x06" + bytes([len(text.encode())]) + text.encode()
    yield Span.FromString(Span(name="safe", attributes=private).SerializeToString() + unknown), 2


@given(SECRETS)
@settings(max_examples=40)
def test_stripped_messages_hold_no_text_and_keep_the_rest(secret: str) -> None:
    for message, places in everything(secret):
        safe, drops = message.SerializeToString().count(b"safe"), Drops()
        strip(message, Limits(), drops)
        data = message.SerializeToString()
        assert b"SECRET" not in data and data.count(b"safe") == safe and drops == {"prompt_text": places}
    for message, _ in everything(secret):
        before, drops = message.SerializeToString(), Drops()
        strip(message, Limits(keep_text=True), drops)
        assert message.SerializeToString() == before and not drops


@given(SECRETS)
@settings(max_examples=40)
def test_maps_and_bodies_hold_no_text(secret: str) -> None:
    attributes = [pair("gen_ai.prompt", words(secret)), pair("n", AnyValue(int_value=0)), pair("deep", nested(secret))]
    drops = Drops()
    assert text_map(attributes, Limits(), drops) == {"n": "0", "deep": '{"choices":[{"index":0}]}'}
    assert drops == {"prompt_text": 2}
    assert secret in str(text_map(attributes, Limits(keep_text=True), Drops())["gen_ai.prompt"])
    drops = Drops()
    assert body_text(words(secret), "gen_ai.choice", Limits(), drops) is None and drops == {"prompt_text": 1}
    assert "SECRET" not in str(body_text(words(f"prompt: {secret!r}"), "", Limits(), drops)) and drops == {"prompt_text": 2}
    assert "SECRET" not in str(body_text(nested(secret), "", Limits(), drops)) and drops == {"prompt_text": 3}
    assert body_text(words(secret), "gen_ai.choice", Limits(keep_text=True), drops) == secret
    assert body_text(AnyValue(), "gen_ai.choice", Limits(), drops) is None and drops == {"prompt_text": 3}


def test_an_events_name_is_in_its_field_or_in_the_older_attribute() -> None:
    old = [pair("event.name", words("old"))]
    assert event_name_of(LogRecord(event_name="new", attributes=old)) == "new"
    assert event_name_of(LogRecord(attributes=old)) == "old" and event_name_of(LogRecord()) == ""
