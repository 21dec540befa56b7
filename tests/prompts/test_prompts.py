from __future__ import annotations

from pathlib import Path

import pytest

from nudge_client.prompts import FAMILIES, as_messages, base_prompt, chat_prompt, render
from nudge_providers import Message, UsageError
from tests.toys import ToyProvider, writes

ONE = [Message("user", "Hi")]
MANY = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "More")]


# The base model's prompt


def test_papers_forms() -> None:
    assert base_prompt(ONE, "question").text == (
        "Answer the question by walking through the reasoning steps.\nQuestion: Hi\n"
    )
    assert base_prompt(ONE, "question").stop == ("\nQuestion:",)
    assert base_prompt(ONE, "instruction", "Answer:").text == "You are a helpful assistant.\nInstruction: Hi\nAnswer:"
    assert base_prompt(ONE, "instruction").stop == ("\nInstruction:",)


def test_plain_form() -> None:
    assert base_prompt(ONE, "plain").text == "Hi\n\n"
    assert base_prompt([MANY[0], ONE[0]], "plain").text == "Be kind.\n\nHi\n\n"


def test_transcript() -> None:
    prompt = base_prompt(MANY)
    assert prompt.text == "Be kind.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: More\n\nAssistant:"
    assert prompt.stop == ("\nUser:", "\nAssistant:")
    assert base_prompt(MANY, "auto", "Sure").text.endswith("\n\nAssistant:\nSure")


def test_auto_is_instruction_for_one_turn() -> None:
    assert base_prompt(ONE) == base_prompt(ONE, "instruction")


def test_trap_7_no_prompt_ends_in_a_space() -> None:
    for form in ("question", "instruction", "plain", "transcript"):
        assert not base_prompt(ONE, form).text.endswith((" ", "\t"))


def test_one_question_only() -> None:
    with pytest.raises(UsageError, match="transcript"):
        base_prompt(MANY, "question")


# The nudger's prompt

EXPECTED = {
    # Each as the model family's own documents give it, less the BOS, which servers add.
    "chatml": (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n",
    ),
    "gemma": (
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        "<start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nMore<end_of_turn>\n<start_of_turn>model\n",
    ),
    "llama2": (
        "[INST] Hi [/INST]",
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] More [/INST]",
    ),
    "llama3": (
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nMore<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": ("[INST] Hi[/INST]", "[INST] Be kind.\n\nHi[/INST] Hello!</s>[INST] More[/INST]"),
    "olmo": (
        "<|endoftext|><|user|>\nHi\n<|assistant|>\n",
        "<|endoftext|><|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\nHello!<|endoftext|>\n<|user|>\nMore\n<|assistant|>\n",
    ),
    "tulu": (
        "<|user|>\nHi\n<|assistant|>\n",
        "<|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\nHello!<|end_of_text|>\n<|user|>\nMore\n<|assistant|>\n",
    ),
    "zephyr": (
        "<|user|>\nHi</s>\n<|assistant|>\n",
        "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n<|user|>\nMore</s>\n<|assistant|>\n",
    ),
}


@pytest.mark.parametrize("family", EXPECTED)
def test_families(family: str) -> None:
    assert (render(family, ONE), render(family, MANY)) == EXPECTED[family]


@pytest.mark.parametrize("family", ["qwen", "smollm"])
def test_families_with_a_system_message_of_their_own(family: str) -> None:
    assert render(family, ONE).startswith("<|im_start|>system\nYou are ")
    assert render(family, ONE).endswith("<|im_end|>\n" + EXPECTED["chatml"][0])
    assert render(family, MANY) == EXPECTED["chatml"][1]


def test_every_family_is_tested() -> None:
    assert {*EXPECTED, "qwen", "smollm"} == set(FAMILIES)


async def test_server_is_the_default() -> None:
    assert await chat_prompt(ToyProvider(writes(""), prompt="its own"), ONE) == "its own"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[bot]", "utf-8")
    assert render(str(path), MANY) == "[system] Be kind.\n[user] Hi\n[assistant] Hello!\n[user] More\n[bot]"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for m in messages %}", "line 1"),
        ("{{ messages", "line 1"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[0].content.nothing.there }}", "nothing"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safely callable"),
    ],
)
def test_bad_templates_are_one_clear_error(tmp_path: Path, source: str, problem: str) -> None:
    path = tmp_path / "bad.jinja"
    path.write_text(source, "utf-8")
    with pytest.raises(UsageError, match=problem) as caught:
        render(str(path), ONE)
    assert "bad.jinja" in str(caught.value)


def test_missing_and_undecodable_templates(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file.*chatml"):
        render("lama3", ONE)
    path = tmp_path / "bytes.jinja"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        render(str(path), ONE)


# Messages


def test_messages() -> None:
    assert as_messages("Hi") == ONE
    assert as_messages("Hi", "Be kind.") == [MANY[0], ONE[0]]
    assert (
        as_messages([{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}])
        == ONE
    )
    assert as_messages(MANY, "ignored: it has one") == MANY


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ([], "last message"),
        ([{"role": "user"}], "message 0: content"),
        ([{"role": "robot", "content": "Hi"}], "message 0: unknown role 'robot'.*system, user, assistant"),
        (["Hi"], "message 0: not an object"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "only text"),
        ([*MANY, Message("assistant", "x")], "last message"),
        ([ONE[0], MANY[0], ONE[0]], "system message must come first"),
        (7, "a string or a list"),
        ("half \ud83d", "no character"),
    ],
)
def test_bad_messages(prompt: object, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        as_messages(prompt)  # type: ignore[arg-type]
