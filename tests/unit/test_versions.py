from workers.dispatch.versions import mismatch

# As `ray start` and `ray.init` of Ray 2.60 have it, within a traceback.
SAID = """RuntimeError: Version mismatch: The cluster was started with:
    Ray: 2.60.0
    Python: 3.11.16
This process on node 10.0.0.4:0 was started with:
    Ray: 2.60.0
    Python: 3.11.9
"""


def test_a_mismatch_is_told_in_one_line_with_all_versions() -> None:
    assert mismatch(f"Traceback (most recent call last):\n{SAID}") == (
        "runs Ray 2.60.0 on Python 3.11.16, and this is Ray 2.60.0 on Python 3.11.9; Ray takes in only what is of the "
        "very same versions: upgrade all of Ray together"
    )


def test_what_is_said_of_something_else_is_no_mismatch() -> None:
    for said in ("", "AuthenticationError: wrong token", SAID.partition("This process")[0]):
        assert mismatch(said) is None
