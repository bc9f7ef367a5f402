"""A bucket as source and as destination: the bytes that a folder gets, from processes of their own."""

from __future__ import annotations

import contextlib
import json
import logging

import pytest
from test_batch import ask, contents, gallery, photo, photos  # noqa: F401  (some are fixtures)

from identity_segmentation.errors import InputError


@pytest.fixture
def bucket(monkeypatch):
    """An S3 server of this machine, with a bucket "season" and a bucket "results"."""
    moto = pytest.importorskip("moto.server", reason="S3 is tried out with moto: pip install 'moto[server]' s3fs")
    s3fs = pytest.importorskip("s3fs", reason="S3 needs s3fs: pip install s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    for name in ("season", "results"):
        with contextlib.suppress(FileExistsError):  # moto keeps what it has for as long as the process lives
            system.mkdir(name)
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def outputs(system, root: str) -> dict[str, bytes]:
    system.invalidate_cache()
    return {
        name.removeprefix(f"{root}/"): system.cat_file(name) for name in system.find(root) if "/.batch/" not in name
    }


def test_sources_and_results_in_buckets_have_the_bytes_of_folders(ask, photos, bucket, tmp_path):  # noqa: F811
    for path in photos.iterdir():
        bucket.put_file(str(path), f"season/2026/{path.name}")
    bucket.pipe_file("season/2026/bad.png", b"no picture")
    given = {"out": "s3://results/2026", "executor": "local", "workers": 1}
    report = ask(["s3://season/2026", "s3://season/2026/gone.png"], **given)
    assert (report.done, report.failed) == (4, 2)
    ask(photos)
    local, far = contents(tmp_path / "out"), outputs(bucket, "results/2026")
    assert far.keys() == local.keys()
    assert all(far[name] == local[name] for name in local if not name.endswith(".json"))
    ledger = [json.loads(line) for line in bucket.cat_file("results/2026/.batch/ledger.jsonl").splitlines()]
    assert {row["source"] for row in ledger if row["state"] == "done"} == {
        f"s3://season/2026/p{n}.png" for n in range(4)
    }
    assert not [name for name in bucket.find("results/2026/.batch/claims") if not name.endswith("/")]
    again = ask(["s3://season/2026"], **given)
    assert (again.done, again.kept) == (0, 5), "what is done is known by its ETag"
    photo(photos / "p1.png", seed=50)
    bucket.put_file(str(photos / "p1.png"), "season/2026/p1.png")
    assert ask(["s3://season/2026"], **given).done == 1, "one that changed is done again"


def test_a_bucket_that_is_not_there_is_said(ask, bucket, photos):  # noqa: F811
    with pytest.raises(InputError, match="nothing to do.*s3://nobody/here"):
        ask("s3://nobody/here")
