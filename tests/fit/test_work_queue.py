"""Transitions of the fit's state machine, without a fit."""

from dataclasses import replace

from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.settings import FitSettings
from fitme.fit.work_queue import Task, WorkQueue

SETTINGS = FitSettings(
    alignment_rounds=2,
    warm_rounds=1,
    inversion=InversionSettings(coarse_steps=12, inversion_steps=4, tuning_steps=5, refresh_steps=2),
)


def run(queue: WorkQueue, *, warm: bool = False, trackable: bool = False) -> list[Task]:
    """Tasks in the order in which they are run until the queue is empty."""
    tasks = []
    while (task := queue.next) is not None:
        if task is Task.LANDMARKS:
            queue.plan_registration(warm=warm, trackable=trackable)
        queue.complete(task)
        tasks.append(task)
    return tasks


def test_a_fresh_fit_runs_all_tasks_in_order() -> None:
    queue = WorkQueue(SETTINGS)
    assert queue.next is None
    queue.enqueue_keyframe(inverted=False)
    assert queue.share_done == 0.0
    registered = [Task.ALIGNMENT, Task.TEXTURE]
    dense = [*[Task.COARSE_INVERSION] * 2, *[Task.INVERSION] * 2, *registered, *[Task.TUNING] * 2]
    assert run(queue) == [Task.LANDMARKS, Task.TEXTURE, *registered, *registered, Task.HAIR, *dense]
    assert queue.share_done == 1.0


def test_heads_that_turn_far_enough_are_tracked_and_aligned_once() -> None:
    queue = WorkQueue(SETTINGS)
    queue.enqueue_keyframe(inverted=True)
    tasks = run(queue, trackable=True)
    rounds = SETTINGS.alignment.tracks.rounds
    assert tasks[:2] == [Task.LANDMARKS, Task.TEXTURE]
    assert tasks[2 : 2 + 2 * rounds] == [Task.TRACKING, Task.TEXTURE] * rounds
    assert tasks[2 + 2 * rounds :] == [
        Task.ALIGNMENT, Task.TEXTURE, Task.HAIR, Task.INVERSION, Task.ALIGNMENT, Task.TEXTURE, Task.TUNING,
    ]  # fmt: skip


def test_a_warm_start_is_shorter() -> None:
    queue = WorkQueue(replace(SETTINGS, alignment_rounds=5))
    queue.enqueue_keyframe(inverted=True)
    assert run(queue, warm=True).count(Task.ALIGNMENT) == 1 + SETTINGS.warm_rounds


def test_recall_comes_first_but_never_alone() -> None:
    queue = WorkQueue(SETTINGS)
    queue.enqueue_recall()
    assert queue.next is None
    queue.enqueue_keyframe(inverted=True)
    assert queue.next is Task.RECALL
    queue.complete(Task.RECALL)
    assert queue.next is Task.LANDMARKS


def test_a_keyframe_in_between_starts_again_and_keeps_the_larger_count() -> None:
    queue = WorkQueue(SETTINGS, {Task.TUNING: 4, Task.INVERSION: 1})
    queue.enqueue_keyframe(inverted=True)
    assert queue.next is Task.LANDMARKS
    assert queue.pending[Task.TUNING] == 4
    assert queue.pending[Task.INVERSION] == 2


def test_removals_fuse_again_and_spare_the_generator() -> None:
    queue = WorkQueue(SETTINGS, {Task.INVERSION: 3, Task.TUNING: 3})
    queue.keyframe_removed(fuse=True)
    assert queue.next is Task.TEXTURE
    queue.keyframe_removed(fuse=False)
    assert queue.next is Task.INVERSION
    queue.outlier_removed(refine_generator=False)
    assert queue.next is Task.LANDMARKS
    assert not queue.tuning_pending


def test_another_queue_goes_on_from_what_is_pending() -> None:
    queue = WorkQueue(SETTINGS)
    queue.enqueue_keyframe(inverted=False)
    queue.complete(Task.LANDMARKS)
    assert run(WorkQueue(SETTINGS, queue.pending)) == run(queue)
