"""The command as a whole: what goes where, and how it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import zipfile
from pathlib import Path
from subprocess import PIPE

import pytest

from masktune_core.makers.biased_mnist import make_biased_mnist
from tests.cli.command import COMMAND, environment, masktune, masktune_json
from tests.cli.http_server import Request, serving


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_without_a_service_the_error_is_one_sentence_on_stderr(home: Path) -> None:
    done = masktune(home, "jobs", "list", "--json")
    assert done.stdout == ""
    assert done.stderr.startswith(f"masktune: no service is running over {home}: start one with 'masktune up'")
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 2


def test_a_problem_of_the_service_is_rendered_and_fails_the_command(home: Path) -> None:
    problem = {"title": "No such job", "detail": "No job 7 is visible to this key.", "code": "job_not_found"}
    with serving(lambda request, _: request.reply(404, json.dumps(problem).encode())) as server:
        done = masktune(home, "jobs", "show", "7", "--url", server.url, "--api-key", "mt_x", "--json")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "masktune: No such job: No job 7 is visible to this key. [job_not_found]\n"


def test_a_list_is_json_on_stdout_or_a_table(home: Path) -> None:
    times = {"created_at": "2026-01-31T12:00:00Z", "finished_at": None}
    job = {"id": "j-1", "name": "first", "status": "running", "stage": None, **times}

    def answer(request: Request, number: int) -> None:
        request.reply(200, json.dumps({"data": [job], "has_more": False, "next": None}).encode())

    with serving(answer) as server:
        service = ("--url", server.url, "--api-key", "mt_x")
        assert masktune_json(home, "jobs", "list", *service) == {"data": [job]}
        shown = masktune(home, "jobs", "list", *service).stdout
    assert "j-1" in shown
    assert "running" in shown


def test_a_watch_as_json_prints_an_event_a_line_and_fails_with_the_job(home: Path) -> None:
    def answer(request: Request, number: int) -> None:
        if request.path.endswith("/events"):
            body = 'id: 1\nevent: job.queued\ndata: {}\n\nid: 2\nevent: job.failed\ndata: {"error": null}\n\n'
            request.reply(200, body.encode(), "text/event-stream")
        else:
            error = {"code": "training_diverged", "message": "the loss is not finite"}
            request.reply(200, json.dumps({"id": "j", "status": "failed", "error": error}).encode())

    with serving(answer) as server:
        done = masktune(home, "jobs", "watch", "j", "--url", server.url, "--api-key", "mt_x", "--json")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["job.queued", "job.failed"]
    assert done.returncode == 1
    assert "job j failed: the loss is not finite [training_diverged]" in done.stderr


def test_making_biased_mnist_writes_an_archive(home: Path, tmp_path: Path) -> None:
    made = masktune_json(home, "datasets", "make", "biased-mnist", str(tmp_path / "out.zip"), "--seed", "3")
    with zipfile.ZipFile(made["path"]) as archive:
        assert "metadata.csv" in archive.namelist()


def test_a_local_run_with_a_bad_field_names_it_and_makes_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "data.zip").touch()
    out = tmp_path / "out"
    run = ("run", "--data", str(tmp_path / "data.zip"), "--out", str(out))
    done = masktune(home, *run, "--preset", "biased_mnist", "--set", "erm.epochs=0")
    assert (done.returncode, out.exists()) == (2, False)
    assert "erm.epochs" in done.stderr


def test_a_local_run_on_something_else_than_an_archive_says_so(home: Path, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"this is not an archive")
    done = masktune(home, "run", "--data", str(tmp_path / "data.zip"), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "[not_an_archive]" in done.stderr


def test_a_local_run_needs_no_service_and_prints_before_and_after(home: Path, tmp_path: Path) -> None:
    data = make_biased_mnist(tmp_path / "data.zip", train=200, val=20, test=40)
    out = tmp_path / "out"
    run = ("run", "--data", str(data), "--out", str(out), "--preset", "biased_mnist", "--set", "erm.epochs=1")
    found = masktune_json(home, *run)
    assert set(found["erm"]) == set(found["masktune"]) == {"original", "biased"}
    assert sorted(file.name for file in out.iterdir()) == sorted([*found["artifacts"], "dataset.zip"])
    assert Path(found["artifacts"]["masktune.safetensors"]) == out / "masktune.safetensors"
    assert not home.exists()
    done = masktune(home, *run, "--resume")
    assert (done.returncode, "no resume point" in done.stderr) == (2, True)


def test_an_interrupted_local_run_goes_on_and_ends_with_the_same_checkpoint(home: Path, tmp_path: Path) -> None:
    data = make_biased_mnist(tmp_path / "data.zip", train=1000, val=20, test=40)
    run = ("run", "--data", str(data), "--preset", "biased_mnist", "--set", "erm.epochs=3")
    undisturbed, interrupted = tmp_path / "undisturbed", tmp_path / "interrupted"
    masktune_json(home, *run, "--out", str(undisturbed))

    command = [*COMMAND, *run, "--out", str(interrupted)]
    with subprocess.Popen(command, env=environment(home), stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 1/3" in line:
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors
    masktune_json(home, *run, "--out", str(interrupted), "--resume")
    checkpoints = [(folder / "masktune.safetensors").read_bytes() for folder in (undisturbed, interrupted)]
    assert checkpoints[0] == checkpoints[1]
