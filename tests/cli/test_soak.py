"""Kill a render again and again at random moments: however often, the poster's bytes are the undisturbed render's."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from processes import RENDER, Running

OPTIONS = ("--long-edge=96", "--tile=32", "--min-edge=48", "--threads=1")


def _soak(inputs: Path, undisturbed, options: tuple[str, ...], kills: int, seed: int) -> dict[str, int]:
    """Returns how often what was killed, and how many posters were finished and compared."""
    expected, length = undisturbed(*options)
    dice, counts = random.Random(seed), {"worker": 0, "client": 0, "everything": 0, "posters": 0}
    done = 0
    while True:
        home = dice.choice(("device", "store"))  # where the state was before does not matter either
        render = Running(
            inputs, *RENDER, *options, "--workers=2", "--log-json", f"--state={home}", "--checkpoint-seconds=0"
        )
        while done < kills:
            _wait(render, dice, length)
            whom = dice.choice(("worker", "client", "everything"))
            everyone, workers = render.descendants(), render.workers()
            if render.process.poll() is not None:
                break
            client = [one for one in render.family if one.pid == render.process.pid]
            victims = {"worker": workers[-1:], "client": client, "everything": [*everyone, *client]}[whom]
            render.kill(victims)
            counts[whom] += bool(victims)
            done += bool(victims)
            print(f"seed {seed}: kill {done}: {whom}, {len(render.events())} events so far", flush=True)
            if whom != "worker":
                break
        code = render.end()
        assert render.leftovers() == []
        if code == -9:
            continue
        assert code == 0, f"seed {seed}, after {done} kills: {render.stderr}"
        assert (inputs / "poster.png").read_bytes() == expected, f"seed {seed}, after {done} kills"
        counts["posters"] += 1
        if done >= kills:
            return counts
        shutil.rmtree(inputs / "poster.zarr")
        (inputs / "poster.png").unlink()


def _wait(render: Running, dice: random.Random, events: int) -> None:
    """For some of the `events` of an undisturbed render; now and then for a time that ends before its first."""
    if dice.random() < 0.25:
        time.sleep(dice.uniform(0, 4))
        return
    target = len(render.events()) + dice.randrange(events)
    while render.process.poll() is None and len(render.events()) < target:
        time.sleep(0.02)


def test_five_kills(inputs: Path, undisturbed, small_weights: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    counts = _soak(inputs, undisturbed, (*OPTIONS, "--steps=8,8", f"--weights={small_weights}"), 5, seed)
    assert counts["posters"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_fifty_kills(inputs: Path, undisturbed, mode: str) -> None:
    """With the real backbone."""
    seed = random.SystemRandom().randrange(10**6)
    print(_soak(inputs, undisturbed, (*OPTIONS, "--steps=12,12", f"--mode={mode}"), 50, seed))
