"""Many videos: faults, overhead, speed-up, the driver's memory, planning. Each part prints a table.

    python benchmarks/batch.py [--data DIR] [--parts faults overhead speedup memory plan ray-nodes ray-pipeline stores]

faults: clips cut from the test data, 1 % of all files broken in ten ways; workers are killed at random, the driver is
killed twice and started again; then every good output is held against that of a serial run, byte by byte. With
--work recode (the default) a clip is decoded, blurred and encoded; with --work pipeline heads are looked for, too.
overhead: units that only wait. speedup: one worker and two, one thread each, on the same clips, by turns. memory: the
driver's peak, by the number of sources. plan: sources listed from folders. ray-nodes: two raylets on this machine, of
which one is killed. ray-pipeline: the whole pipeline on two raylets. stores: memory:// and the S3 server of moto, as
destination and as source.

Runs that take a minute or so:

    python benchmarks/batch.py --parts overhead memory plan --units 4 --unit-seconds 2 --sources 100 300 --listed 20000
    python benchmarks/batch.py --parts faults --clips 12 --broken 2 --kill-every 15 --driver-kills 1
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _data
from _data import ROOT, table

from identity_segmentation.batch.executors import Local, Serial, Setup
from identity_segmentation.batch.units import Source, Unit

PARTS = ("faults", "overhead", "speedup", "memory", "plan", "ray-nodes", "ray-pipeline", "stores")
_CLIP_FRAMES, _SIDE = 30, 320  # of a short clip: a second or so, 320 pixels wide
_TURNS = 24  # clips of `speedup` at most: it takes each six times


# ---- clips, good and broken


def make_clips(data: Path, folder: Path, count: int) -> list[Path]:
    """Short clips, all different: windows over the test data's videos; drawn ones where there are no test data."""
    videos = sorted((data / "videos").glob("*.mp4"))
    if not videos:
        print(f"{data}/videos has no videos, so clips are drawn")
        return [_write(folder / f"drawn_{number:04d}.mp4", _drawn(number), Fraction(25)) for number in range(count)]
    return [path for n, video in enumerate(videos) for path in _cut(video, folder, len(range(n, count, len(videos))))]


def _cut(video: Path, folder: Path, count: int) -> Iterator[Path]:
    """So many windows of a video, begun at places of their own, read in one pass."""
    import cv2

    from identity_segmentation.video.files import VideoReader

    window: deque[Any] = deque(maxlen=_CLIP_FRAMES)
    made = 0
    while made < count:  # a second pass would give the same clips: it begins where the first had no room
        with VideoReader(video) as reader:
            step = max(1, (max(reader.info.frames, _CLIP_FRAMES) - _CLIP_FRAMES) // count)
            for at, frame in enumerate(reader):
                height, width = frame.image.shape[:2]
                window.append(cv2.resize(frame.image, (_SIDE, 2 * round(_SIDE * height / width / 2))))
                if len(window) == _CLIP_FRAMES and made < count and at % step == 0:
                    yield _write(folder / f"{video.stem}_{made:04d}.mp4", window, reader.info.fps)
                    made += 1


def _drawn(number: int) -> Iterator[Any]:
    """A disc that moves over noise of its own."""
    import cv2
    import numpy as np

    ground = np.random.default_rng(number).integers(0, 255, (_SIDE * 9 // 16 // 2 * 2, _SIDE, 3), np.uint8)
    ground = cv2.GaussianBlur(ground, (0, 0), 4)
    for at in range(_CLIP_FRAMES):
        yield cv2.circle(ground.copy(), (20 + 6 * at, 60 + number % 40), 20, (number % 256, 120, 200), -1)


def _write(path: Path, images: Iterable[Any], fps: Fraction) -> Path:
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "threads": "1"})
        for at, image in enumerate(images):
            if at == 0:
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts = at
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def break_files(folder: Path, good: Path, count: int) -> list[Path]:
    """Files that are called videos and are none, in ten ways."""
    content = good.read_bytes()
    noise = random.Random(7).randbytes(20_000)
    ways = {
        "empty": b"", "one_byte": b"\0", "text": b"not a video\n" * 50, "page": b"<!doctype html><p>404 Not Found",
        "noise": noise, "zip": b"PK\x03\x04" + noise, "header_alone": content[:32],
        "no_index": content[: len(content) // 2],
        "no_header": noise[:64] + content[64 : len(content) // 2], "zeros": bytes(20_000),
    }  # fmt: skip
    made = []
    for number in range(count):
        way, wrong = list(ways.items())[number % len(ways)]
        path = folder / f"broken_{number:03d}_{way}.mp4"
        path.write_bytes(wrong + (str(number).encode() if wrong and number >= len(ways) else b""))
        made.append(path)
    return made


# ---- a driver in a process of its own, which can be killed


def drive(asked: dict[str, Any]) -> None:
    """What `--drive` runs: one call of the package; its report goes to stdout as JSON."""
    from dataclasses import asdict, replace

    from identity_segmentation import Settings
    from identity_segmentation.batch.job import batch

    settings = replace(Settings.from_env(), face_engine="embedded", segmenter="embedded")
    began, ends = time.monotonic(), list[float]()
    report = batch(
        asked.pop("sources"), settings=settings, told=lambda row, done, total: ends.append(time.monotonic()), **asked
    )
    first = (asked.get("workers") or 1) - 1  # when every worker has its engines: their first videos are done
    each = (ends[-1] - ends[first]) / (len(ends) - first - 1) if len(ends) > first + 1 else 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps(asdict(report) | {"wall": time.monotonic() - began, "peak_mb": peak, "cpu": cpu, "each": each}))


def driver(asked: dict[str, Any], log: Path) -> subprocess.Popen:
    environment = {
        **os.environ, "IDSEG_BENCH_LOG": str(log),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, __file__, "--drive", json.dumps(asked)], stdout=subprocess.PIPE, text=True, env=environment
    )


def finished(process: subprocess.Popen) -> dict[str, Any]:
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the driver ended with status {process.returncode}")
    return json.loads(said.splitlines()[-1])


def workers_of(pid: int) -> list[int]:
    """The worker processes of a driver of ours: children that multiprocessing spawned to work."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or b"spawn_main" not in (entry / "cmdline").read_bytes():
                continue
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def outputs(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of everything in a destination but its records."""
    return {
        path.relative_to(folder).as_posix(): digest_of(path.name, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".batch" not in path.relative_to(folder).parts
    }


def digest_of(name: str, content: bytes) -> str:
    """SHA-256 of an output; of a record of covers without the time of the video's last change, which it also holds."""
    if name.endswith(".covers.jsonl"):
        first, _, rest = content.partition(b"\n")
        header = json.loads(first)
        header.pop("stamp", None)
        content = json.dumps(header, sort_keys=True).encode() + b"\n" + rest
    return hashlib.sha256(content).hexdigest()


# ---- parts


def job_of(clips: Path, out: Path, scratch: Path, **more: Any) -> dict[str, Any]:
    return {
        "sources": [str(clips)], "do": "video", "out": str(out), "view": "anonymise", "sampling": 5,
        "maker": "_batch_work:pipeline", "scratch": str(scratch), "gallery": str(clips.parent / "nobody"), **more,
    }  # fmt: skip


def faults(options: argparse.Namespace, home: Path) -> None:
    clips = home / "clips"
    clips.mkdir()
    work = {"maker": f"_batch_work:{options.work}"}
    good = make_clips(options.data, clips, options.clips - options.broken)
    broken = break_files(clips, good[0], options.broken)
    began = time.monotonic()
    finished(driver(job_of(clips, home / "serial", home / "scratch1", executor="serial", **work), home / "serial.log"))
    serial_s = time.monotonic() - began
    log, kills, driver_kills = home / "faults.log", 0, 0
    asked = job_of(clips, home / "out", home / "scratch2", executor="local", workers=options.workers, threads=1, **work)
    chance, began = random.Random(1), time.monotonic()
    process = driver(asked, log)
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.5, 1.5) * options.kill_every)
        done = log.read_text().count("row ") if log.exists() else 0
        due = done > (driver_kills + 1) * options.clips / (options.driver_kills + 1)  # at a third, at two thirds
        if driver_kills < options.driver_kills and due and process.poll() is None:
            children = workers_of(process.pid)
            process.kill()
            process.communicate()
            for child in children:  # as when the machine goes down
                _kill(child)
            driver_kills += 1
            process = driver(asked, log)
        elif process.poll() is None and (alive := workers_of(process.pid)):
            kills += _kill(chance.choice(alive))
    report = finished(process)
    serial, under_fire = outputs(home / "serial"), outputs(home / "out")
    lines = Counter(log.read_text().split("\n"))
    begun = Counter({line[6:]: n for line, n in lines.items() if line.startswith("begin ")})
    put = Counter({line[4:]: n for line, n in lines.items() if line.startswith("row ")})
    failed = [json.loads(line) for line in (home / "out" / ".batch" / "failed.jsonl").read_text().splitlines()]
    named = {Path(row["source"]).name for row in failed if row["reason"]}
    # Broken files are tried again on purpose; a good one is begun again for a kill alone.
    again = sum(n - 1 for name, n in begun.items() if not name.startswith("broken"))
    most = kills + driver_kills * options.workers
    tries = [json.loads(line)["tries"] for line in (home / "out" / ".batch" / "ledger.jsonl").read_text().splitlines()]
    different = [name for name, digest in under_fire.items() if name in serial and serial[name] != digest]
    rows = [
        ("files, of them broken", f"{options.clips}, {options.broken}"),
        ("workers killed, driver killed", f"{kills}, {driver_kills}"),
        ("outputs of the serial run, of this one", f"{len(serial)}, {len(under_fire)}"),
        ("outputs whose bytes differ", ", ".join(different) or 0),
        ("outputs that one of them lacks", len(serial.keys() ^ under_fire.keys())),
        ("broken files put aside with a reason", f"{len(named & {p.name for p in broken})} of {len(broken)}"),
        ("good files put aside", len(named - {p.name for p in broken})),
        ("videos begun again; workers killed, the driver's included", f"{again}; {most}"),
        ("most tries of a file", max(tries)),
        ("videos on record, of them done twice", f"{len(put)}, {sum(n > 1 for n in put.values())}"),
        ("claims left over", sum(1 for _ in (home / "out" / ".batch" / "claims").glob("*"))),
        ("seconds: serial, under fire", f"{serial_s:.0f}, {time.monotonic() - began:.0f}"),
        ("rows of the ledger", dict(report["rows"])),
    ]  # fmt: skip
    print(table(("faults", ""), rows))


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def waiting(count: int) -> Iterator[Unit]:
    for number in range(count):
        yield Unit(f"{number:032x}", Source(f"nowhere/{number}", "1", f"{number}"))


def timed(executor: Any, count: int) -> float:
    """Seconds from the first unit's end to the last one's: starting up is no part of what a unit costs."""
    ends: list[float] = []
    executor.run(waiting(count), lambda unit, outcome: ends.append(time.monotonic()) or [], threading.Event())
    assert len(ends) == count
    return (ends[-1] - ends[0]) / (count - 1)


def overhead(options: argparse.Namespace, home: Path) -> None:
    setup = Setup("_batch_work:Sleeps", {"seconds": options.unit_seconds})
    rows = []
    executors: list[tuple[str, Any]] = [("serial", Serial(setup)), ("local", Local(setup, workers=1, threads=1))]
    if _has_ray():
        from identity_segmentation.batch.ray_executor import Ray

        executors.append(("ray", Ray(setup, workers=1)))
    first = None
    for name, executor in executors:
        each = timed(executor, options.units)
        first = first or each
        rows.append((name, f"{each:.3f}", f"{1000 * (each - first):.0f}", f"{100 * (each / first - 1):.2f} %"))
    print(table((f"a unit of {options.unit_seconds:g} s", "seconds", "more, ms", "overhead"), rows))


def speedup(options: argparse.Namespace, home: Path) -> None:
    clips = home / "clips"
    clips.mkdir()
    make_clips(options.data, clips, min(options.clips, _TURNS))
    walls: dict[int, list[float]] = {1: [], 2: []}
    cores: dict[int, list[float]] = {1: [], 2: []}
    for number in range(options.rounds):
        for workers in (1, 2) if number % 2 else (2, 1):  # by turns: the machine may be slower or faster meanwhile
            asked = job_of(clips, home / f"out{number}-{workers}", home / f"scratch{number}-{workers}",
                           executor="local", workers=workers, threads=1, maker="_batch_work:pipeline")  # fmt: skip
            said = finished(driver(asked, home / "speedup.log"))
            walls[workers].append(said["each"])
            cores[workers].append(said["cpu"] / said["wall"])
    first = statistics.median(walls[1])
    rows = [
        (n, f"{statistics.median(walls[n]):.2f}", f"{min(walls[n]):.2f} to {max(walls[n]):.2f}",
         f"{statistics.median(cores[n]):.2f}", f"{first / statistics.median(walls[n]):.2f}")
        for n in (1, 2)
    ]  # fmt: skip
    print(table(("workers, one thread each", "seconds a video, median", "range", "cores used", "times as fast"), rows))
    print(f"load of this machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def memory(options: argparse.Namespace, home: Path) -> None:
    rows = []
    first = None
    for count in options.sources:
        folder = home / f"sources{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06d}.mp4").write_bytes(str(number).encode())
        asked = {"sources": [str(folder)], "out": str(home / f"out{count}"), "do": "video", "view": "anonymise",
                 "executor": "BENCH", "maker": "_batch_work:pipeline", "gallery": str(home / "nobody")}  # fmt: skip
        peak = finished(driver(asked, home / "memory.log"))["peak_mb"]
        first = first or peak
        rows.append((f"{count:,}", f"{peak:.1f}", f"{peak / first:.3f}"))
    print(table(("sources", "driver's peak, MB", "times the first"), rows))


def plan(options: argparse.Namespace, home: Path) -> None:
    folder = home / "listed"
    for number in range(options.listed):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04d}").mkdir(parents=True)
        (folder / f"{number // 1000:04d}" / f"{number:07d}.mp4").touch()
    code = (
        "import json, resource, sys, time\n"
        "from identity_segmentation.batch.listing import Plan, listed\n"
        "began = time.monotonic()\n"
        "plan = Plan()\n"
        "sources = listed([sys.argv[1]], 'video', plan, sys.argv[2], lambda what, why: None)\n"
        "count = sum(1 for source in sources if source.key('q'))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(json.dumps([count, time.monotonic() - began, peak]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(home / "out")], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    count, seconds, peak = json.loads(run.stdout)
    print(table(("listed", "seconds", "peak, MB"), [(f"{count:,}", f"{seconds:.2f}", f"{peak:.0f}")]))


def ray_nodes(options: argparse.Namespace, home: Path) -> None:
    """Two raylets on this machine; one is killed while both are at work."""
    if not _has_ray():
        print("ray-nodes: Ray is not installed, so nothing was measured")
        return
    from ray.cluster_utils import Cluster

    from identity_segmentation.batch.ray_executor import Ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    other = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    states: Counter[str] = Counter()
    done: set[str] = set()
    stopped = False

    def ended(unit: Unit, outcome: Any) -> list[Unit]:
        nonlocal stopped
        states[outcome.state] += 1
        if outcome.state == "done":
            done.add(unit.key)
        if not stopped and len(done) >= options.units // 3:
            stopped = True
            cluster.remove_node(other, allow_graceful=False)
        return [unit.again()] if outcome.again else []

    try:
        setup = Setup("_batch_work:Sleeps", {"seconds": options.unit_seconds})
        Ray(setup, workers=2, address=cluster.address).run(waiting(options.units), ended, threading.Event())
    finally:
        cluster.shutdown()
    rows = [("units, done", f"{options.units}, {len(done)}"), ("done twice", states["done"] - len(done)),
            ("lost with the node and done again", states["killed"])]  # fmt: skip
    print(table(("two raylets, one killed", ""), rows))


def ray_pipeline(options: argparse.Namespace, home: Path) -> None:
    """The whole pipeline on a cluster of two raylets, held against a serial run."""
    if not _has_ray():
        print("ray-pipeline: Ray is not installed, so nothing was measured")
        return
    from ray.cluster_utils import Cluster

    clips = home / "clips"
    clips.mkdir()
    make_clips(options.data, clips, options.clips)
    finished(driver(job_of(clips, home / "serial", home / "scratch", executor="serial"), home / "serial.log"))
    os.environ["IDSEG_BENCH_LOG"] = str(home / "ray.log")  # raylets hand it on to their workers
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    try:
        asked = job_of(clips, home / "out", home / "scratch-ray", executor="ray", workers=2, threads=1)
        said = finished(driver(asked | {"executor_options": {"address": cluster.address}}, home / "ray.log"))
    finally:
        cluster.shutdown()
    expected, got = outputs(home / "serial"), outputs(home / "out")
    ledger = [json.loads(line) for line in (home / "out" / ".batch" / "ledger.jsonl").read_text().splitlines()]
    rows = [
        ("videos, done", f"{options.clips}, {said['done']}"), ("done by each worker", sorted(
            Counter(row["worker"] for row in ledger).values())),
        ("outputs", len(got)), ("of other bytes than a serial run's", sum(got[n] != expected.get(n) for n in got)),
        ("that one of them lacks", len(expected.keys() ^ got.keys())), ("seconds", f"{said['wall']:.0f}"),
    ]  # fmt: skip
    print(table(("two raylets, the whole pipeline", ""), rows))


def stores(options: argparse.Namespace, home: Path) -> None:
    """Other destinations: the same bytes as in a folder."""
    import importlib.util

    clips = home / "clips"
    clips.mkdir()
    make_clips(options.data, clips, min(options.clips, 8))
    finished(driver(job_of(clips, home / "folder", home / "scratch", executor="serial"), home / "folder.log"))
    expected = outputs(home / "folder")
    rows = []
    kinds = {"memory://results": None}
    server = None
    if importlib.util.find_spec("moto") and importlib.util.find_spec("s3fs"):
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
        server = ThreadedMotoServer(port=0)
        server.start()
        host, port = server.get_host_and_port()
        os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1",
                          AWS_ENDPOINT_URL=f"http://{host}:{port}")  # fmt: skip
        kinds["s3://results/here"] = "results"
        kinds["s3://results/from-s3"] = ""
    os.environ["IDSEG_BENCH_LOG"] = str(home / "stores.log")
    try:
        for address, bucket in kinds.items():
            rows.append((address, *_same_in_store(address, bucket, clips, home, expected)))
    finally:
        if server is not None:
            server.stop()
    print(table(("destination", "outputs", "of other bytes"), rows))


def _same_in_store(
    address: str, bucket: str | None, clips: Path, home: Path, expected: dict[str, str]
) -> tuple[int, int]:
    from dataclasses import replace

    import fsspec

    from identity_segmentation import Settings
    from identity_segmentation.batch.job import batch

    system, root = fsspec.core.url_to_fs(address)
    if bucket:
        system.mkdir(bucket)
    if bucket == "":  # sources lie in the store as well
        system.put(str(clips), "results/season", recursive=True)
    asked = job_of(clips, home, home / "scratch-store", executor="serial") | {"out": address}
    if bucket == "":
        asked["sources"] = ["s3://results/season"]
    settings = replace(Settings.from_env(), face_engine="embedded", segmenter="embedded")
    batch(asked.pop("sources"), settings=settings, **asked)
    found = {
        name.removeprefix(root).lstrip("/"): digest_of(name, system.cat_file(name))
        for name in system.find(root)
        if "/.batch/" not in name
    }
    return len(found), sum(expected.get(name) != digest for name, digest in found.items()) + len(
        expected.keys() - found.keys()
    )


def _has_ray() -> bool:
    import importlib.util

    return importlib.util.find_spec("ray") is not None


class _OnlyRows:
    """An executor that gives every unit a small row at once: what is left is the driver."""

    name = "rows"

    def run(self, units: Iterator[Unit], ended: Any, cancel: threading.Event) -> None:
        from identity_segmentation.batch.units import Outcome

        for unit in units:
            ended(unit, Outcome("failed", None, "it is one of the benchmark's"))


def main() -> None:
    parser = _data.parser(__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--clips", type=int, default=1000, help="files of the parts that have any")
    parser.add_argument("--broken", type=int, default=10, help="of the files of `faults`")
    parser.add_argument("--work", choices=("recode", "pipeline"), default="recode", help="of `faults`, with a clip")
    parser.add_argument("--rounds", type=int, default=3, help="of `speedup`")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="S", help="a worker is killed so often")
    parser.add_argument("--driver-kills", type=int, default=2)
    parser.add_argument("--units", type=int, default=12)
    parser.add_argument("--unit-seconds", type=float, default=10.0)
    parser.add_argument("--sources", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--listed", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for what is made, which stays")
    parser.add_argument("--drive", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        asked = json.loads(options.drive)
        if asked.get("executor") == "BENCH":
            asked["executor"] = lambda setup: _OnlyRows()
        drive(asked)
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "benchmarks"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    for part in options.parts:
        with contextlib.ExitStack() as stack:
            folder = options.keep and options.keep / part
            if folder is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="idseg-bench-"))
            Path(folder).mkdir(parents=True, exist_ok=True)
            globals()[part.replace("-", "_")](options, Path(folder))
            print(flush=True)


if __name__ == "__main__":
    main()
