"""What the store is asked beside a screen."""

import threading

from ganservice.cli.question import Question
from ganservice.errors import OutageKind, StoreOutage


def test_a_closed_question_is_asked_no_more() -> None:
    asked = threading.Event()

    def ask() -> None:
        asked.set()
        raise StoreOutage("the store is away", OutageKind.UNREACHABLE)

    question = Question(ask)
    assert asked.wait(60.0)
    question.close()
    question.wait(60.0)
    assert question.is_over
    assert question.trouble == "the store is away"
