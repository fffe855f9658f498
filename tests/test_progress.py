from alloyk.progress import NO_PROGRESS, CallbackProgress


def test_no_progress_counts_without_an_effect(capfd):
    with NO_PROGRESS.task("reading", 2) as advance:
        advance(1)
        advance(1)
    assert capfd.readouterr() == ("", "")


def test_each_task_counts_from_zero():
    seen = []
    progress = CallbackProgress(lambda *step: seen.append(step))
    for total in (3, 1):
        with progress.task("reading", total, "files") as advance:
            for _ in range(total):
                advance(1)
    assert seen == [
        ("reading", 1, 3, "files"),
        ("reading", 2, 3, "files"),
        ("reading", 3, 3, "files"),
        ("reading", 1, 1, "files"),
    ]
