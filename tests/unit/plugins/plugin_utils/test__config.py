# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration edit: every byte that is not ours survives, whatever shape the YAML has, or it is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._config import KEYS, Config

FILES = ("/t/p/current/fullchain.pem", "/t/p/current/privkey.pem", "/t/p/current/ca.pem")
OURS: t.Mapping[str, str | None] = dict(zip(KEYS, FILES))
CHAIN, KEY, CA = (f"{key}: {path}\n" for key, path in OURS.items())
ALL = CHAIN + KEY + CA
PAIR: dict[str, str | None] = {**OURS, "certificate_authority_file": None}


def edit(text: str, *, keys: t.Mapping[str, str | None] | None = None, **how: t.Any) -> str:
    """Edit as the install does; `keys` are our three unless they are given."""
    return Config(text.encode(), "/etc/pomerium/config.yaml").edit(keys=keys or OURS, **how).decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", ALL, id="empty file, as the image has it"),
        pytest.param("# only a comment\n", "# only a comment\n" + ALL, id="only a comment"),
        pytest.param("---\n", "---\n" + ALL, id="an empty document"),
        pytest.param("a: 1\n", "a: 1\n" + ALL, id="at the end"),
        pytest.param("a: 1", "a: 1\n" + ALL, id="no newline at the end"),
        pytest.param("a: 1\n\n# the end\n", "a: 1\n\n# the end\n" + ALL, id="after a comment at the end"),
        pytest.param("---\na: 1\n", "---\na: 1\n" + ALL, id="an explicit document"),
        pytest.param("%YAML 1.2\n---\na: 1\n", "%YAML 1.2\n---\na: 1\n" + ALL, id="a directive"),
        pytest.param("a: 1\n...\n", "a: 1\n" + ALL + "...\n", id="before the end marker"),
        pytest.param("a: 1\n... # x\n", "a: 1\n" + ALL + "... # x\n", id="before an end marker with a comment"),
        pytest.param("\ufeffa: 1\n", "\ufeffa: 1\n" + ALL, id="BOM"),
        pytest.param("\ufeff", "\ufeff" + ALL, id="BOM and nothing else"),
        pytest.param("a: 1\r\nb: 2\r\n", "a: 1\r\nb: 2\r\n" + ALL.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(
            "  a: 1\n  b: 2\n", "  a: 1\n  b: 2\n  " + ALL[:-1].replace("\n", "\n  ") + "\n", id="an indented mapping"
        ),
        pytest.param("a: |\n  x\n", "a: |\n  x\n" + ALL, id="after a block scalar"),
        pytest.param("a: |\n  x", ALL + "a: |\n  x", id="before an open block scalar, which a newline would change"),
        pytest.param("a: |+\n  x\n\n", "a: |+\n  x\n\n" + ALL, id="after a block scalar that keeps its end"),
        pytest.param("a: >-\n  x\n  y\n\n", "a: >-\n  x\n  y\n\n" + ALL, id="after a folded scalar"),
        pytest.param("a:\n- b\n- c\n", "a:\n- b\n- c\n" + ALL, id="after a list without indent"),
        pytest.param("a: [b,\n  c]\n", "a: [b,\n  c]\n" + ALL, id="after a flow list over two lines"),
        pytest.param("a: 'x\n\n  y'\n", "a: 'x\n\n  y'\n" + ALL, id="after a quoted scalar over three lines"),
        pytest.param("a:\n", "a:\n" + ALL, id="after a null"),
        pytest.param('a: "\\u00e4: # {"\n', 'a: "\\u00e4: # {"\n' + ALL, id="after a tricky string"),
        pytest.param("ä: ö # ü\n", "ä: ö # ü\n" + ALL, id="not ASCII"),
        pytest.param(
            "a: 2026-01-01\nb: 0o17\nc: .nan\nd: ~\n", "a: 2026-01-01\nb: 0o17\nc: .nan\nd: ~\n" + ALL, id="types"
        ),
        pytest.param("b: &b {x: 1}\nc: *b\n", "b: &b {x: 1}\nc: *b\n" + ALL, id="anchors that are not ours"),
        pytest.param("b: &b {x: 1}\n<<: *b\n", "b: &b {x: 1}\n<<: *b\n" + ALL, id="a merge key"),
    ],
)
def test_new_keys_are_added_and_nothing_else_changes(before: str, after: str) -> None:
    assert edit(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("certificate_file: /old\n", CHAIN, id="plain"),
        pytest.param("certificate_file:   /old   \n", f"certificate_file:   {FILES[0]}   \n", id="odd spaces"),
        pytest.param("certificate_file: /old # by hand\n", f"{CHAIN[:-1]} # by hand\n", id="a comment at its end"),
        pytest.param("certificate_file: '/old'\n", f"certificate_file: '{FILES[0]}'\n", id="single quotes stay"),
        pytest.param('certificate_file: "/o\\x6cd"\n', f'certificate_file: "{FILES[0]}"\n', id="double quotes stay"),
        pytest.param("CERTIFICATE_FILE: /old\n", f"CERTIFICATE_FILE: {FILES[0]}\n", id="upper case stays"),
        pytest.param('"certificate_file": /old\n', f'"certificate_file": {FILES[0]}\n', id="a quoted key"),
        pytest.param("certificate_file : /old\n", f"certificate_file : {FILES[0]}\n", id="space before the colon"),
        pytest.param("certificate_file:\n", CHAIN, id="null"),
        pytest.param("certificate_file: ~\n", CHAIN, id="a written null"),
        pytest.param("certificate_file: # todo\n", f"certificate_file: {FILES[0]} # todo\n", id="null with a comment"),
        pytest.param("certificate_file: ''\n", f"certificate_file: '{FILES[0]}'\n", id="an empty string"),
        pytest.param("certificate_file: 42\n", CHAIN, id="a number"),
        pytest.param("certificate_file: >-\n  /old\n  /path\n", CHAIN, id="a folded scalar"),
        pytest.param("certificate_file:\n  /old\n", f"certificate_file:\n  {FILES[0]}\n", id="on the next line"),
        pytest.param("certificate_file: !!str /old\n", CHAIN, id="a tag"),
        pytest.param("certificate_file: [a, b]\n", CHAIN, id="a list by mistake"),
        pytest.param("? certificate_file\n: /old\n", f"? certificate_file\n: {FILES[0]}\n", id="an explicit key"),
        pytest.param("certificate_file: &c /old\n", CHAIN, id="an anchor that nobody uses"),
    ],
)
def test_a_key_that_is_there_gets_its_new_value_in_place(before: str, after: str) -> None:
    rest = "# after\nz: 1\n"
    assert edit("a: 1\n" + before + rest) == "a: 1\n" + after + rest + KEY + CA


def test_an_alias_as_value_is_replaced_and_its_anchor_stays() -> None:
    assert edit("a: &a /x\ncertificate_file: *a\n") == f"a: &a /x\n{CHAIN}{KEY}{CA}"


def test_a_key_out_of_a_merge_is_overridden_and_the_merge_stays() -> None:
    before = "base: &b\n  certificate_file: /x\n<<: *b\n"
    assert edit(before) == before + ALL


@pytest.mark.parametrize("text", [ALL, "a: 1\n" + ALL + "# x\n", ALL.replace("/t", "'/t").replace(".pem", ".pem'")])
def test_what_is_right_already_stays_byte_for_byte(text: str) -> None:
    assert edit(text) == text
    assert edit(text.replace("\n", "\r\n")) == text.replace("\n", "\r\n")


def test_a_value_of_none_takes_the_key_out_with_its_line() -> None:
    assert edit(f"a: 1\n{ALL[:-1]}  # ours\nb: 2\n", keys=PAIR) == f"a: 1\n{CHAIN}{KEY}b: 2\n"


def test_a_path_with_odd_characters_is_quoted() -> None:
    keys = dict.fromkeys(KEYS, "/srv/my tls: #1/'x'")
    text = edit("a: 1\n", keys=keys)
    assert Config(text.encode(), "c").keys == keys


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("certificate: |\n  abc\n  def\n\nz: 1\n", "\nz: 1\n", id="block scalar"),
        pytest.param("certificate: abc # inline\nz: 1\n", "z: 1\n", id="with its comment"),
        pytest.param("z: 1\nCertificate: abc", "z: 1\n", id="last, without newline"),
        pytest.param("z: 1\n# why\ncertificate:\n  abc\n# next\n", "z: 1\n# why\n# next\n", id="comments around stay"),
    ],
)
def test_a_removed_key_goes_with_its_lines_and_no_other(before: str, after: str) -> None:
    assert edit(before, remove=["certificate"]) == after + ALL


TWO = """\
certificates:
  # the first
  - cert: /a/cert.pem
    key: /a/key.pem
  - cert: '/b/cert.pem' # the second
    key: /b/key.pem
# the end
z: 1
"""


@pytest.mark.parametrize(
    ("before", "gone", "after"),
    [
        pytest.param(TWO, [0], TWO.replace("  - cert: /a/cert.pem\n    key: /a/key.pem\n", ""), id="the first"),
        pytest.param(
            TWO, [1], TWO.replace("  - cert: '/b/cert.pem' # the second\n    key: /b/key.pem\n", ""), id="the second"
        ),
        pytest.param(TWO, [0, 1], "# the end\nz: 1\n", id="all of them"),
        pytest.param(
            "certificates:\n-\n  cert: /a\n  key: /b\n- # x - y\n  cert: /c\n  key: /d\n",
            [0],
            "certificates:\n- # x - y\n  cert: /c\n  key: /d\n",
            id="dashes on lines of their own",
        ),
        pytest.param(
            "certificates:\n-\n  cert: /a\n  key: /b\n- # x - y\n  cert: /c\n  key: /d\n",
            [1],
            "certificates:\n-\n  cert: /a\n  key: /b\n",
            id="dashes on lines of their own, the second",
        ),
        pytest.param(
            "certificates: [{cert: /a, key: /b}, {cert: /c, key: /d}] # two\n",
            [0],
            "certificates: [{cert: /c, key: /d}] # two\n",
            id="flow",
        ),
        pytest.param(
            "certificates:\r\n- {cert: /a, key: /b}\r\n- {cert: /c, key: /d}\r\n",
            [1],
            "certificates:\r\n- {cert: /a, key: /b}\r\n",
            id="CRLF",
        ),
        pytest.param("Certificates:\n  - Cert: /a\n    KEY: /b\n", [0], "", id="upper case"),
        pytest.param("certificates:\n  - cert: /a\n    key:\n  - x\n", [0], "certificates:\n  - x\n", id="null inside"),
    ],
)
def test_entries_of_the_list_are_dropped_by_index(before: str, gone: list[int], after: str) -> None:
    newline = "\r\n" if "\r\n" in before else "\n"
    assert edit(before, unlist=gone) == after + ALL.replace("\n", newline)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("certificate_file: &c /x\nz: *c\n", id="our value is an anchor that others use"),
        pytest.param("base: &b {certificates: [{cert: /a, key: /b}]}\n<<: *b\n", id="the list comes in by a merge"),
        pytest.param("base: &b [{cert: /a, key: /b}, {cert: /c}]\ncertificates: *b\n", id="the list is an alias"),
    ],
)
def test_what_cannot_be_edited_alone_is_refused(text: str) -> None:
    how = {"unlist": [0]} if "certificates" in text else {}
    with pytest.raises(BadInput, match=r"cannot be edited without touching other settings .* edit_config: false"):
        edit(text, **how)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\n---\nb: 2\n", "line 2, column 1: several documents"),
        ("- a\n- b\n", "line 1, column 1: not a mapping"),
        ("hunter2\n", "line 1, column 1: not a mapping"),
        ("{a: hunter2}\n", "line 1, column 1: written in flow style"),
        ("a: hunter2\n\tb: 1\n", "line 2, column 1: not YAML"),
        ("a: hunter2\n b: 1\n", "line 2, column 3: not YAML"),
        ("a: 'hunter2\n", "line 2, column 1: not YAML"),
        ("a: *hunter2\n", "line 1, column 4: not YAML"),
        ("a: !hunter2!x y\n", "line 1, column 4: not YAML"),
        ("a: !hunter2 y\n", "line 1, column 4: not YAML"),
        ("a: {{ hunter2 }}\n", "line 1, column 5: not YAML"),
        ("{% if hunter2 %}\na: 1\n", "line 1, column 2: not YAML"),
        ("a: hunter2\na: 1\n", "line 2, column 1: a key that is there twice"),
        ("r:\n  a: hunter2\n  a: 1\n", "line 3, column 3: a key that is there twice"),
        ("certificate_file: hunter2\nCERTIFICATE_FILE: x\n", "line 2, column 1: certificate_file is there twice"),
        ("a: hunter2\x07\n", "line 1, column 11: not YAML"),
        ("a: 2026-99-99\n", "not YAML"),
        ("certificates: hunter2\n", "certificates is not a list"),
    ],
)
def test_what_is_not_one_mapping_is_refused_by_place_and_never_quoted(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        edit(text)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.facts)


@pytest.mark.parametrize(
    "level",
    [
        pytest.param("[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", id="lists in lists"),
        pytest.param("{{x: 1, <<: [{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]}}", id="merges of merges"),
    ],
)
def test_a_few_lines_that_stand_for_more_than_any_memory_holds_are_refused(level: str) -> None:
    """A host may be hostile, and the controller works for all of them."""
    lines = ["a0: &a0 {x: 1}\n"]
    lines += [f"a{n}: &a{n} {level.format(f'*a{n - 1}')}\n" for n in range(1, 30)]
    for key in ("z", "certificate_file", "certificates", "address"):
        with pytest.raises(BadInput, match="aliases in it stand for more"):
            edit("".join(lines) + f"{key}: *a29\n")


def test_aliases_that_a_person_writes_are_fine() -> None:
    text = "base: &base {allow: {or: [{domain: {is: example.com}}]}}\n"
    text += "routes:\n" + "- {from: x, policy: [*base, *base]}\n" * 2000
    assert edit(text) == text + ALL
    assert edit("a: &a [*a]\n") == "a: &a [*a]\n" + ALL


def test_bytes_that_are_not_utf_8_are_refused_by_place() -> None:
    with pytest.raises(BadInput, match="line 2, column 4: not UTF-8"):
        Config(b"a: 1\nb: \xff\n", "c")


def test_no_warning_of_the_parser_gets_out(recwarn: pytest.WarningsRecorder) -> None:
    Config(b"a: &x 1\nb: &x 2\nc: *x\n", "c")
    assert not recwarn.list


def test_inspection_sees_what_pomerium_sees() -> None:
    config = Config(
        b"Address: :8443\nCERTIFICATE: abc\nautocert: TRUE\ninsecure_server: 'false'\nuse_proxy_protocol: true\n"
        b"certificates:\n- {CERT: /a, key: /b}\n- nonsense\ncertificate_key_file: /k\n",
        "c",
    )
    assert config.address == ":8443"
    assert config.has_inline_certificate
    assert config.inline_certificate == "abc"
    assert (config.is_on("autocert"), config.is_on("insecure_server"), config.is_on("use_proxy_protocol")) == (
        True,
        False,
        True,
    )
    assert [(item.certificate_path, item.key_path) for item in config.listed] == [("/a", "/b"), (None, None)]
    assert config.keys == {
        "certificate_file": None,
        "certificate_key_file": "/k",
        "certificate_authority_file": None,
    }


def test_pomerium_s_defaults_hold_where_nothing_is_said() -> None:
    config = Config(b"", "c")
    assert (config.address, config.listed, config.has_inline_certificate) == (":443", (), False)
