"""Workers elsewhere and stores elsewhere: the same bytes as one machine, and one line where that cannot be."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SMALL = ("--long-edge=64", "--levels=1", "--steps=2", "--tile=32", "--threads=1", "--quiet", "--precision=fp32")
RENDER = ("render", "content.png", "style.png", *SMALL)


@pytest.mark.slow
def test_two_workers_and_an_object_store_write_the_bytes_of_one_machine(
    tiler, inputs: Path, cluster, object_store
) -> None:
    here = tiler(*RENDER, "-o", "here.png")
    assert here.returncode == 0, here.stderr
    address = cluster(**object_store)
    there = tiler(*RENDER, "-o", "there.png", "--scheduler", address, "--store=s3://posters/a/job", **object_store)
    assert there.returncode == 0, there.stderr
    assert (inputs / "there.png").read_bytes() == (inputs / "here.png").read_bytes()
    assert "done in" in tiler("info", "s3://posters/a/job", **object_store).stdout
    exported = tiler("export", "s3://posters/a/job", "-o", "again.png", "--quiet", **object_store)
    assert exported.returncode == 0, exported.stderr
    assert not list(inputs.glob("*s3*"))


@pytest.mark.slow
def test_two_workers_with_certificates_and_a_shared_folder(tiler, inputs: Path, cluster) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(inputs / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(inputs / "both.pem"))
    settings = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    settings["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = str(inputs / "ca.pem")
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        for part in ("CERT", "KEY"):
            settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__{part}"] = str(inputs / "both.pem")
    here = tiler(*RENDER, "-o", "here.png")
    assert here.returncode == 0, here.stderr
    there = tiler(*RENDER, "-o", "there.png", "--scheduler", cluster(scheme="tls", **settings), **settings)
    assert there.returncode == 0, there.stderr
    assert (inputs / "there.png").read_bytes() == (inputs / "here.png").read_bytes()


def one_line(done) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_object_stores_that_cannot_be_used(here, inputs: Path, object_store) -> None:
    before = sorted(inputs.iterdir())
    wrong = {
        "s3://none/job": object_store,
        "s3://posters/job": {**object_store, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
    }
    for url, environment in wrong.items():
        began = time.monotonic()
        assert url in one_line(here(*RENDER, "-o", "a.png", "--store", url, **environment))
        assert time.monotonic() - began < 60
    assert sorted(inputs.iterdir()) == before


def test_only_a_job_of_ours_is_deleted_from_a_bucket(here, inputs: Path, object_store) -> None:
    from obstore.store import S3Store

    options = {key.lower(): value for key, value in object_store.items()}
    bucket = S3Store("posters", config=options, client_options={"allow_http": True})
    bucket.put("mine/photo.jpg", b"precious")
    done = here(*RENDER, "-o", "a.png", "--store=s3://posters/mine", "--force-new", **object_store)
    assert "is not a job" in one_line(done)
    assert bytes(bucket.get("mine/photo.jpg").bytes()) == b"precious"


@pytest.mark.slow
def test_a_scheduler_that_is_gone_ends_a_render_in_one_line(inputs: Path, cluster) -> None:
    address = cluster(1)
    command = [sys.executable, "-m", "tiler", *RENDER, "--steps=3000", "-o", "p.png", "--scheduler", address]
    render = subprocess.Popen(command, cwd=inputs, stderr=subprocess.PIPE, text=True)
    [scheduler] = [one for one in psutil.process_iter(["cmdline"]) if address.rsplit(":", 1)[1] in one.info["cmdline"]]
    deadline = time.monotonic() + 60
    while not list(inputs.glob("p.zarr/levels/0/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    scheduler.kill()
    _, said = render.communicate(timeout=90)
    assert render.returncode == 1
    assert said == (
        "tiler: the connection to the scheduler is lost; the store keeps what is done; go on when it is there again\n"
    )
