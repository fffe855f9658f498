"""The workers that `TF_CONFIG` describes, and what a wrong description is called."""

import json
import re

import pytest

from alloyk.errors import ConfigError
from alloyk.runtime.cluster import Cluster, cluster_from_environment

TWO = ["a:1", "b:1"]
FIRST = {"type": "worker", "index": 0}


def of_jobs(**jobs):
    return {"cluster": jobs, "task": FIRST}


def of_workers(workers):
    return of_jobs(worker=workers)


def of_task(task):
    return {"cluster": {"worker": TWO}, "task": task}


WRONG = [
    *((whole, json.dumps(whole)) for whole in ([], 5, None, True, "one:2222")),
    *(
        ({"cluster": jobs, "task": FIRST}, f'"cluster": {json.dumps(jobs)}')
        for jobs in (None, 5, True, "a:1", TWO)
    ),
    (of_jobs(worker=TWO, ps=["c:1"]), "the job ps"),
    (of_jobs(worker=TWO, ps=None), "the job ps"),
    *(
        (of_workers(workers), f'"worker": {json.dumps(workers)}')
        for workers in (
            None, 5, True, "a:1", "", {}, {"a:1": 0, "b:1": 1},
            ["a:1", 5], ["a:1", None], ["a:1", True], [["a:1"], ["b:1"]], ["a:1", {"b:1": 0}],
        )
    ),
    *(
        (of_jobs(worker=TWO, chief=chief), f'"chief": {json.dumps(chief)}')
        for chief in (None, 5, "c:1", "", {}, [["c:1"]])
    ),
    *(
        (of_workers(["a:1", address]), f"the address {address!r}")
        for address in (
            "", "b", ":1", "[]:1", "b:", "b:x", "b:0", "b:-1", "b:65536", "b: 1", "b:²",
            "b:" + "1" * 5000,
        )
    ),
    (of_workers(["a:1", "a:1"]), "one address twice"),
    ({"cluster": {"worker": TWO}}, "the task null"),
    *(
        (of_task(task), f"the task {json.dumps(task)}")
        for task in (
            None, 0, True, "worker", [], ["worker", 0], {}, {"type": "worker"}, {"index": 0},
        )
    ),
    *(
        (of_task({"type": job, "index": 0}), f'the task {{"type": {json.dumps(job)}, "index": 0}}')
        for job in (None, 0, True, [], ["worker"], {}, "", "chief", "ps")
    ),
    *(
        (
            of_task({"type": "worker", "index": index}),
            f'the task {{"type": "worker", "index": {json.dumps(index)}}}',
        )
        for index in (None, "0", 0.0, True, False, [], [0], {}, -1, 2)
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one:2222", "one:2222"),
        ("{\n  'cluster'", "{ 'cluster'"),
        *((json.dumps(described), found) for described, found in WRONG),
    ],
)
def test_a_wrong_description_is_an_error(monkeypatch, text, found):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(
        ConfigError,
        match=rf"^TF_CONFIG must be like {{.*}}, got {re.escape(found)}; correct or unset it$",
    ):
        cluster_from_environment()


@pytest.mark.parametrize(
    "text", ["", " ", "{}", '{"cluster": {}}', json.dumps(of_workers(["a:1"]))]
)
def test_fewer_than_two_workers_are_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert cluster_from_environment() is None


def test_a_chief_job_comes_before_the_workers(monkeypatch):
    described = of_jobs(worker=["b:1"], chief=["a:1"])
    monkeypatch.setenv("TF_CONFIG", json.dumps(described))
    assert cluster_from_environment() == Cluster(("a:1", "b:1"), 1)
    monkeypatch.setenv("TF_CONFIG", json.dumps(described | {"task": {"type": "chief", "index": 0}}))
    assert cluster_from_environment().is_chief
