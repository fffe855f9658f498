"""The launchers give every worker its description, with `ssh` and `srun` replaced by stubs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from workers import free_ports

from alloyk.runs.folder import RunFolder

SCRIPTS = Path(__file__).parents[1] / "scripts"
STUBS = {
    # ssh HOST COMMAND: as sshd does, the command is given to a shell.
    "ssh": 'shift; exec sh -c "$*"',
    # srun --OPTIONS COMMAND: both tasks on this machine.
    "srun": """
        while [ "${1#--}" != "$1" ]; do shift; done
        export SLURM_NTASKS=2 SLURM_STEP_NODELIST=nodes
        SLURM_PROCID=0 "$@" & SLURM_PROCID=1 "$@"; status=$?
        wait $! && exit $status""",
    "scontrol": "echo 127.0.0.1; echo 127.0.0.1",
}


@pytest.fixture
def environment(tmp_path):
    """The environment with stubs on the path."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name, text in STUBS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "123456"}


def tell(folder):
    """A command that writes what it was told into a file named by its worker."""
    program = (
        "import json, os, sys; told = os.environ['TF_CONFIG']; "
        "open(str(json.loads(told)['task']['index']), 'w').write(told + '\\n' + ' '.join(sys.argv))"
    )
    return [sys.executable, "-c", program, "a b", "$HOME", "it's"]


def expect(folder, first_port):
    workers = [f"127.0.0.1:{first_port}", f"127.0.0.1:{first_port + 1}"]
    for index in (0, 1):
        told, arguments = (folder / str(index)).read_text().splitlines()
        task = {"type": "worker", "index": index}
        assert json.loads(told) == {"cluster": {"worker": workers}, "task": task}
        assert arguments == "-c a b $HOME it's"


def test_ssh_tells_each_machine_which_worker_it_is(environment, tmp_path):
    command = [SCRIPTS / "launch_ssh", "-p", "4000", "127.0.0.1", "user@127.0.0.1", "--"]
    subprocess.run(
        [*command, *tell(tmp_path)], cwd=tmp_path, env=environment, check=True, timeout=20
    )
    expect(tmp_path, 4000)


def test_slurm_tells_each_node_which_worker_it_is(environment, tmp_path):
    command = [SCRIPTS / "launch_slurm", *tell(tmp_path)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=20)
    expect(tmp_path, 20000 + 123456 % 20000)


@pytest.mark.parametrize("name", ["launch_ssh", "launch_slurm"])
def test_without_machines_the_usage_is_shown(environment, name):
    found = subprocess.run(
        [SCRIPTS / name], env={**environment, "SLURM_JOB_ID": ""}, capture_output=True, text=True
    )
    assert found.returncode == 2
    assert "Usage: " in found.stderr


def test_lines_are_marked_and_a_failure_is_the_status(environment, tmp_path):
    command = [SCRIPTS / "launch_ssh", "one", "two", "--", "bash", "-c"]
    program = 'echo here; [ "${TF_CONFIG#*index}" = "\\": 0}}" ] || exit 3'
    found = subprocess.run(
        [*command, program],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=20,
    )
    assert found.returncode == 3
    assert sorted(found.stdout.splitlines()) == ["0: here", "1: here"]


def test_ending_the_launcher_ends_the_workers(environment, tmp_path):
    command = [SCRIPTS / "launch_ssh", "one", "two", "--", "bash", "-c", "echo $$ && exec sleep 99"]
    process = subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    workers = [int(process.stdout.readline().split(": ")[1]) for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143
    process.stdout.close()
    ends = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_a_training_is_launched_over_ssh(environment, tmp_path):
    for number in range(40):
        folder = tmp_path / "data" / ("1050", "2017")[number % 2]
        folder.mkdir(exist_ok=True, parents=True)
        pixels = np.random.default_rng(number).integers(0, 9999, (24, 24), dtype=np.uint16)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    command = [SCRIPTS / "launch_ssh", "-p", str(free_ports(1)[0]), "127.0.0.1", "127.0.0.1", "--"]
    settings = ("preprocess.image_size=16", "train.epochs=1", "train.batch_size=8")
    options = [option for one in settings for option in ("--set", one)]
    train = [sys.executable, "-m", "alloyk", "train", "--arch", "fnn", "--data", "data"]
    found = subprocess.run(
        [*command, *train, "--run", "run", *options],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert RunFolder(tmp_path / "run").is_finished
