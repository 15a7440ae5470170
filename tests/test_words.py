"""Command tables: what words mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagdvid.errors import BadRequest
from dagdvid.words import Command, CommandTable


def handler(*args):
    return args


TABLE = CommandTable(
    Command(usage, None if "old" in usage else handler, "Does it.")
    for usage in (
        "help [WORD...]",
        "types",
        "types TYPE help",
        "repo UUID new TYPE NAME [KEY=VALUE...]",
        "repo UUID branch BRANCH [CHILD]",
        "repo UUID merge PARENT...",
        "repo UUID old FILE",
        "repos new ALIAS [DESCRIPTION] [uuid=UUID]",
        "node UUID NAME COMMAND [WORD...]",
    )
)


def bound(text: str):
    words = text.split()
    command = TABLE.find(words)
    return command.usage, command.bind(words)


def test_arguments_by_name():
    usage, call = bound("repo 12 branch side")
    assert usage == "repo UUID branch BRANCH [CHILD]"
    assert call.args == {"uuid": "12", "branch": "side"}
    assert call.get("child") == ""
    assert bound("repo 12 branch side 34")[1].get("child") == "34"


def test_the_rest_of_the_line():
    assert bound("repo 1 merge 2")[1].rest == ("2",)
    assert bound("repo 1 merge 2 3 4")[1].rest == ("2", "3", "4")
    assert bound("help")[1].rest == ()
    assert bound("node 1 kv put a b")[1].args == {"uuid": "1", "name": "kv", "command": "put"}


def test_settings_anywhere_after_the_words_and_names_in_any_case():
    call = bound("repo 1 new Compression=lz4 keyvalue versioned=false kv")[1]
    assert call.args == {"uuid": "1", "type": "keyvalue", "name": "kv"}
    assert call.settings == {"compression": "lz4", "versioned": "false"}
    call = bound("repos new a=b x=y uuid=12")[1]  # only named settings are settings there
    assert (call.args, call.settings) == ({"alias": "a=b", "description": "x=y"}, {"uuid": "12"})
    assert bound("repos new a=b=c")[1].args == {"alias": "a=b=c"}


def test_words_in_any_case():
    assert bound("REPO 1 New keyvalue KV")[1].args["name"] == "KV"


def test_shorter_and_longer_commands_of_one_beginning():
    assert bound("types")[0] == "types"
    assert bound("types keyvalue help")[0] == "types TYPE help"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first word must be one of: help, node, repo, repos, types"),
        ("rep", "'rep' is unknown as a command; did you mean 'repo"),
        ("xyz", "'xyz' is unknown as a command; there are: help, node, repo, repos, types"),
        ("repo 1 brnach x", "'brnach' is unknown after 'repo 1'; did you mean 'branch'"),
        ("repo 1 zzz", "'zzz' is unknown after 'repo 1'; there are: branch, merge, new, old"),
        ("repo 1", "after 'repo 1' must come one of: branch, merge, new, old"),
        ("repo", "after 'repo' must come one of: UUID branch, UUID merge"),
        ("repo 1 branch", "BRANCH is missing; the words are: repo UUID branch"),
        ("repo 1 branch a b c", "'c' is one word too many; the words are: repo UUID branch"),
        ("repo 1 merge", "PARENT is missing"),
        ("types keyvalue", "'keyvalue' is one word too many"),
        ("repos new", "ALIAS is missing"),
    ],
)
def test_what_is_wrong_is_told(text, said):
    with pytest.raises(BadRequest) as caught:
        bound(text)
    assert said in str(caught.value)


def test_a_command_of_dvid_alone_says_what_takes_its_place():
    with pytest.raises(BadRequest, match="'repo old' is a command of DVID's alone: Does it"):
        TABLE.find(["repo", "1", "old", "f"]).served()


def test_words_before():
    table = CommandTable([Command("put KEY", handler, "")]).under("node UUID NAME")
    words = ["node", "1", "kv", "put", "a=b"]
    assert table.find(words).bind(words).args == {"uuid": "1", "name": "kv", "key": "a=b"}


@given(st.lists(st.text(max_size=5) | st.sampled_from(["repo", "new", "branch", "merge", "a=b", "help"]), max_size=8))
def test_any_words_are_a_call_or_are_refused(words):
    try:
        call = TABLE.find(words).bind(words)
    except BadRequest:
        return
    assert call.words == tuple(words)
    assert len(call.args) + len(call.rest) + len(call.settings) <= len(words)
