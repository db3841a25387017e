"""What strangers may write into whatever has a text: for terminals, browsers and eyes to trip over."""

from typing import Any

from hypothesis import strategies as st

from ganservice.model import Model

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J", "\x9b31mred", "a\r\x1b[1Ab", "two\nlines", "\x00\x7f", "\u202egnp.exe", "\u2066x\u2069",
    "zero\u200bwidth\ufeff", "\u2028\u2029", "\ud800", "\U000e0041", "<script>alert(1)</script>",
    '" onload="x" a="', "' onclick='x", "</pre></style><img src=x onerror=y>", "&lt;&#60;&amp;", "--><!--", "]]>",
)  # fmt: skip
# Of which at least one letter would be obeyed by a terminal, or not be seen.
OBEYED = tuple("\x00\x07\x1b\r\n\x7f\x85\x9b\u200b\u200e\u202e\u2028\u2066\u2069\ufeff\ud800\U000e0041")
LETTERS = st.sampled_from([*OBEYED, *"<>&\"'`=/\\ -a", "é", "漢", "👩"])
strangers_texts = st.sampled_from(HOSTILE) | st.text(LETTERS, min_size=1, max_size=20)


def with_text(model: Model, text: str) -> Any:
    """The model with this text wherever it may have any text, unchecked, as if another version had written it."""
    return model.model_copy(
        update={
            name: _with_text(getattr(model, name), text)
            for name, field in type(model).model_fields.items()
            if name != "kind" and "Literal[" not in str(field.annotation)
        }
    )


def _with_text(value: Any, text: str) -> Any:
    if type(value) is str:
        return text
    if isinstance(value, Model):
        return with_text(value, text)
    if isinstance(value, dict):
        # Keys that code knows stay; the text as a key stands beside them.
        values = {key: _with_text(each, text) for key, each in value.items()}
        return values | dict.fromkeys([text] if values else [], next(iter(values.values()), None))
    if isinstance(value, tuple | list):
        return type(value)(_with_text(each, text) for each in value)
    return value
