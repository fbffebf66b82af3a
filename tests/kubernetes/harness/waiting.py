"""Conditions that are awaited."""

import time

POLL_SECONDS = 0.25


def wait_for(what, condition, seconds=60):
    """Waits until condition() returns something true, and returns it. A condition that raises AssertionError is not met
    yet; its words say in the end what was missing."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            missing = ""
            if found := condition():
                return found
        except AssertionError as error:
            missing = f": {error}"
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s{missing}"
        time.sleep(POLL_SECONDS)
