"""Requests made up from the OpenAPI document, valid and not: none may make the server fail, or harm what it holds."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sample_repo import INSTANCES, TOKEN, Sample, Servers, two_servers

schemathesis = pytest.importorskip("schemathesis", reason="pip install dagdvid[fuzz]")
Timeout = pytest.importorskip("requests").Timeout

BRIEFLY = 2
"""Requests of each operation in the short form."""
AT_LEAST = 20_000
"""Requests of the long one."""

EDGES = ("0", "-1", "1", "31", "2147483647", "-2147483648", "4294967296", "9223372036854775808", "1e9", "")
"""What stands in the place of a number."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def bent(draw: Any, text: str) -> str:
    """A text with one of its numbers, if it has some, made another."""
    numbers = list(re.finditer(r"-?\d+", text))
    if not numbers:
        return text
    number = draw(st.sampled_from(numbers))
    return text[: number.start()] + draw(st.sampled_from(EDGES)) + text[number.end() :]


@st.composite
def spoilt(draw: Any, text: str) -> str:
    """A body like another: of JSON, with one member made anything; else a piece cut out."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, list | dict) and value:
        at = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        value[at] = draw(JSON)
        return json.dumps(value)
    begin, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return text[:begin] + text[end:]


class Target:
    """A server with a sample repo, and its operations."""

    def __init__(self, servers: Servers) -> None:
        self.http = servers[0]
        self.sample = Sample(servers)
        document = self.http.get("/api/openapi.json").json()
        self.operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
        self.calls = 0

    def cases(self, operation: Any) -> st.SearchStrategy[Any]:
        """Requests of an operation: what the document allows, and what the examples have, as it is and changed."""
        names = self.sample.names
        versions = [*names.values(), names["root"][:8], f"{names['root']}:master"]
        known = {"uuid": st.sampled_from(versions), "data": st.sampled_from([name for name, _ in INSTANCES.values()])}
        for parameter in (*operation.path_parameters, *operation.query):
            example = parameter.definition.get("example")
            if example is not None:
                text = self.sample.named(example)
                known.setdefault(parameter.name, st.just(text) | bent(text))
        bodies = [
            self.sample.named(example["value"])
            for body in operation.body
            for example in body.definition.get("examples", {}).values()
        ]
        like = st.one_of(*(st.just(text) | spoilt(text) for text in bodies), JSON.map(json.dumps))

        @st.composite
        def case(draw: Any) -> Any:
            made = draw(operation.as_strategy())
            for place in (made.path_parameters, made.query):
                for name in place or ():
                    if name in known and draw(st.integers(0, 9)):
                        place[name] = draw(known[name])
            if operation.body and draw(st.integers(0, 3)):
                made.body = draw(like).encode()
            return made

        return case()

    def fuzz(self, operation: Any, count: int, *, derandomize: bool) -> list[str]:
        """Send so many requests; those that it failed at."""
        failed = []

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=derandomize,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(self.cases(operation))
        def run(case: Any) -> None:
            self.calls += 1
            with suppress(Timeout):  # a huge picture takes its time; that its client leaves must do no harm
                answer = case.call(base_url=str(self.http.base_url), params={"admintoken": TOKEN}, timeout=10)
                if answer.status_code == 500:
                    failed.append(f"{case.as_curl_command()}: {answer.text}")

        run()
        return failed


@pytest.fixture
def target(tmp_path: Any) -> Iterator[Target]:
    with two_servers(tmp_path) as servers, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schemathesis and what it uses
        yield Target(servers)


def judged(target: Target, failed: list[str]) -> None:
    """None failed, and what is stored is whole."""
    assert not failed, "\n".join(failed)
    report = target.http.post("/api/store/fsck").json()
    assert report["problems"] == []


def test_no_request_makes_it_fail(target: Target) -> None:
    judged(target, [line for one in target.operations for line in target.fuzz(one, BRIEFLY, derandomize=True)])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_request_of_many_makes_it_fail(target: Target) -> None:
    failed = []
    while target.calls < AT_LEAST:
        for operation in target.operations:
            failed += target.fuzz(operation, 25, derandomize=False)
    judged(target, failed)
