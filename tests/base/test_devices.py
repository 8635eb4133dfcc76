"""Functions side by side: their results, their share of the threads, and their errors."""

import threading

import pytest
import torch

from kt_core.base.devices import side_by_side


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def meeting(barrier):
    """Waits for the others, so that it ends only if they run at the same time."""
    barrier.wait(timeout=30)
    return torch.get_num_threads(), threading.current_thread()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU, one after the other")
def test_jobs_run_side_by_side_with_a_share_of_the_threads(two_threads):
    barrier = threading.Barrier(2)
    found = side_by_side({name: lambda: meeting(barrier) for name in ("first", "second")})
    (threads, first), (others, second) = found["first"], found["second"]
    assert (threads, others) == (1, 1) and first is not second
    assert torch.get_num_threads() == 2


def test_results_are_named_and_in_order(two_threads):
    found = side_by_side({number: lambda n=number: n**2 for number in range(5)})
    assert list(found.items()) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]
    assert side_by_side({}) == {}


def test_with_one_thread_they_run_one_after_the_other_here():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = side_by_side(dict.fromkeys("ab", threading.current_thread))
    finally:
        torch.set_num_threads(before)
    assert set(found.values()) == {threading.current_thread()}


def test_the_first_error_is_raised_and_the_threads_are_given_back(two_threads):
    def wrong(word):
        raise ValueError(word)

    with pytest.raises(ValueError, match="one"):
        side_by_side({"fine": int, "a": lambda: wrong("one"), "b": lambda: wrong("two")})
    found = [torch.get_num_threads()]
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [2, 2]  # here, and in threads to come
