"""Units on a Ray cluster of this machine: all are done, once; what dies, hangs or cannot be used is said."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from identity_segmentation.batch.executors import Setup
from identity_segmentation.batch.ray_executor import Actor, Ray
from identity_segmentation.batch.units import Source, Unit
from identity_segmentation.errors import Cancelled, EngineUnavailable, InputError, OutputError

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, two cores; the tests of this file share it."""
    ray = pytest.importorskip("ray", reason='Ray is not installed (pip install ".[cluster]")')
    before = dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else a token is put in the home folder
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), *filter(None, sys.path)])
    for last in (False, False, True):  # Ray gives up on a busy machine after fifteen seconds
        try:
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, object_store_memory=80_000_000,
                log_to_driver=False, logging_level="ERROR",
            )  # fmt: skip
            break
        except Exception as error:
            ray.shutdown()
            if last:
                pytest.skip(f"Ray did not start on this machine: {error}")
    yield ray
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)


def units(*addresses: str) -> list[Unit]:
    return [Unit(f"{n:032x}", Source(address, "1", f"s{n}")) for n, address in enumerate(addresses)]


class Job:
    """Tries again what may be tried again, twice, and remembers what became of everything."""

    def __init__(self):
        self.seen: list[tuple[str, str]] = []
        self.outcomes = {}
        self.taken = 0

    def given(self, listed):
        for unit in listed:
            self.taken += 1
            yield unit

    def ended(self, unit, outcome):
        self.seen.append((unit.source.place, outcome.state))
        self.outcomes[unit.source.place] = outcome
        return [unit.again()] if outcome.again and unit.tries < 2 else []


def run(tmp_path, *addresses, cancel=None, **how) -> Job:
    job = Job()
    setup = Setup("batch_workers:Odd", {"folder": str(tmp_path)})
    Ray(setup, **{"workers": 2, **how}).run(job.given(units(*addresses)), job.ended, cancel or threading.Event())
    return job


def asked(tmp_path) -> list[list[str]]:
    return [line.split() for file in tmp_path.glob("*.asked") for line in file.read_text().splitlines()]


def test_every_unit_is_done_once_and_broken_ones_are_told_from_errors(cluster, tmp_path):
    job = run(tmp_path, "meet", *["ok"] * 19, "broken", "raise")
    assert Counter(state for _, state in job.seen) == {"done": 20, "failed": 1, "error": 3}
    assert job.outcomes["s20"].reason == "it is no video"
    assert "RuntimeError: a decoder fell over" in job.outcomes["s21"].reason
    assert Counter(name for name, *_ in asked(tmp_path)) == {**{f"s{n}": 1 for n in range(21)}, "s21": 3}
    assert len({outcome.row["worker"] for outcome in job.outcomes.values() if outcome.state == "done"}) == 2
    assert os.getpid() not in {o.row["worker"] for o in job.outcomes.values() if o.state == "done"}


def test_a_killed_worker_costs_its_own_unit_and_comes_again_with_half_the_threads(cluster, tmp_path):
    job = run(tmp_path, "die", *["ok"] * 6, workers=1, threads=2)
    assert Counter(job.seen) == {("s0", "killed"): 1, ("s0", "done"): 1, **{(f"s{n}", "done"): 1 for n in range(1, 7)}}
    rows = asked(tmp_path)
    assert Counter(name for name, *_ in rows) == {"s0": 2, **{f"s{n}": 1 for n in range(1, 7)}}
    assert {threads for name, tries, threads in rows if (name, tries) == ("s0", "0")} == {"2"}
    assert {threads for name, tries, threads in rows if (name, tries) != ("s0", "0")} == {"1"}


def test_what_hangs_is_ended_by_its_length_and_the_others_go_on(cluster, tmp_path):
    began = time.monotonic()
    job = run(tmp_path, "hang 300", *["ok"] * 4, least=1.0, factor=10.0)  # its source is 0.3 s long: 1 + 3 s
    assert ("s0", "timed out") in job.seen and job.outcomes["s0"].state == "done"
    assert time.monotonic() - began < 120
    assert sum(state == "done" for _, state in job.seen) == 5


def test_what_holds_for_the_whole_job_ends_it(cluster, tmp_path):
    with pytest.raises(OutputError, match="the disk is full"):
        run(tmp_path, "full", *["ok"] * 3, workers=1)


def test_units_are_taken_from_the_list_only_as_workers_get_free(cluster, tmp_path):
    stop, job = threading.Event(), Job()

    def ended(unit, outcome):
        stop.set()
        return job.ended(unit, outcome)

    setup = Setup("batch_workers:Odd", {"folder": str(tmp_path)})
    with pytest.raises(Cancelled):
        Ray(setup, workers=1).run(job.given(iter(units(*["ok"] * 500))), ended, stop)
    assert job.taken <= 4


def test_a_worker_with_another_version_is_refused(cluster, tmp_path, monkeypatch):
    from identity_segmentation.batch import ray_executor

    monkeypatch.setattr(ray_executor, "__version__", "9.9.9")  # of this process alone
    with pytest.raises(EngineUnavailable, match=r"has identity-segmentation .* this machine 9\.9\.9.*pip install"):
        run(tmp_path, "ok")
    assert not asked(tmp_path)


def test_no_units_start_nothing(cluster, tmp_path):
    assert run(tmp_path).seen == []


def test_an_unreachable_cluster_is_said_within_ten_seconds(tmp_path):
    ray = pytest.importorskip("ray", reason='Ray is not installed (pip install ".[cluster]")')
    if ray.is_initialized():
        ray.shutdown()
    with socket.socket() as taken:  # a port where nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{port} cannot be reached.*ray status"):
            run(tmp_path, "ok", address=f"127.0.0.1:{port}")
        assert time.monotonic() - began < 10
    with pytest.raises(EngineUnavailable, match="expected HOST:6379"):
        run(tmp_path, "ok", address="nonsense")


def test_numbers_out_of_range_are_refused_and_a_missing_ray_is_said(monkeypatch):
    setup = Setup("batch_workers:Odd", {"folder": "."})
    for wrong in ({"workers": 0}, {"threads": 0}, {"gpus": -1.0}, {"gpus": 1.5}):
        with pytest.raises(InputError):
            Ray(setup, **wrong)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineUnavailable, match=r'pip install ".\[cluster\]"'):
        Ray(setup)


def test_an_actor_says_what_ends_a_job_as_data(tmp_path):
    """Errors do not travel as objects: a machine might not be able to read them."""
    actor = Actor(Setup("batch_workers:Odd", {"folder": str(tmp_path)}))
    [full, late] = units("full", "ok 2500")
    assert actor.do(full.as_json()) == {"raise": "OutputError", "text": "the disk is full"}
    assert actor.do(late.as_json())["state"] == "done" and actor.heard() == (2.5, 0)
