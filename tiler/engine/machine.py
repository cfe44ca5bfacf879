"""What the machine that computes is and has, as `tiler.engine.measuring` finds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

UNBOUNDED = 2**62
# Of a GPU's memory, what a process holds before its first tensor: context, kernels, workspaces of cuBLAS and cuDNN.
CONTEXT_BYTES = 500 * 10**6
_AND = " + "


@dataclass(frozen=True)
class Host:
    """The tightest of the computers that workers run on. workers: on it; cores: for these together, within quotas, each
    as many as one where they are fewest; free_bytes: memory, what these workers hold counted as free; total_bytes: all
    that the one with least has, free or not; name: the processor's."""

    workers: int = 1
    cores: int = 1
    free_bytes: int = UNBOUNDED
    name: str = ""
    total_bytes: int = UNBOUNDED


@dataclass(frozen=True)
class Gpus:
    """count: different ones. workers: most that share one; free_bytes: the least that is free of one, what workers hold
    counted as free. kernels: the implementation that they run, by precision; why: it is not triton, empty where it is.
    total_bytes: all that the one with least has, free or not.
    """

    count: int
    workers: int
    free_bytes: int
    name: str
    kernels: str = "triton"
    why: str = ""
    total_bytes: int = UNBOUNDED


# Of Apple's GPUs.
UNTRIED = "device mps is untested: no such machine has run tiler yet; compare with --device cpu"


@dataclass(frozen=True)
class Machine:
    """What all workers have. workers: how many were asked. gpus: None where one of them has none. bf16: the kinds of
    device on which that is faster than fp32. versions: of what bytes depend on; (name, version). mps: whether an Apple
    GPU can be asked for."""

    workers: int = 1
    host: Host = field(default_factory=Host)
    gpus: Gpus | None = None
    bf16: tuple[str, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    mps: bool = False

    @property
    def device(self) -> str:
        """The kind to compute on where nothing else is wished."""
        return "cuda" if self.gpus else "cpu"

    def trouble(self, device: str) -> str:
        """A line where the fast kernels cannot be had, or nobody has tried; else empty."""
        if device == "mps":
            return UNTRIED
        why = self.gpus.why if self.gpus and device == "cuda" else ""
        return (
            f"Triton cannot run on {self.gpus.name}, {self.gpus.kernels} takes its place: {why}"
            if self.gpus and why
            else ""
        )

    def facts(self, device: str) -> dict[str, str]:
        """What the bytes of a poster computed on `device` depend on, in words."""
        of_gpu = device == "cuda" and self.gpus is not None
        names = {"device": self.gpus.name if of_gpu and self.gpus else self.host.name}
        kernels = {"kernels": self.gpus.kernels} if of_gpu and self.gpus else {}
        gpu_only = ("cuda", "cudnn", "triton")
        return {**names, **{k: v for k, v in self.versions if of_gpu or k not in gpu_only}, **kernels}


def joined(before: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, str]:
    """Facts of all machines that took part: each value once."""
    found = {**{key: str(value) for key, value in before.items()}, **now}
    return {key: _all([*found[key].split(_AND), *str(before.get(key, found[key])).split(_AND)]) for key in found}


def is_one(facts: Mapping[str, str]) -> bool:
    """Whether the facts are those of one kind of machine."""
    return not any(_AND in value for value in facts.values())


def difference(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """A line where a job that was begun goes on with other facts, which do not forbid it; else empty."""
    other = {key: value for key, value in now.items() if value not in str(before.get(key, value)).split(_AND)}
    if not other:
        return ""
    said = "; ".join(f"{key} {value} (before: {before[key]})" for key, value in other.items())
    return f"goes on with {said}: the last bits of what follows may differ from those of a render in one go"


# Bounds nothing and is nothing in particular: for what does not depend on the machine.
ANY = Machine()


def merged(workers: Iterable[Mapping[str, Any]]) -> Machine:
    """What all of them have. workers: what `measure` found on each."""
    records = list(workers)
    hosts: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        hosts[record["host"]].append(record)
    tightest = min(hosts.values(), key=lambda on: _free(on) / len(on))
    with_gpu = [record for record in records if record["gpu"]]
    names = {key for record in records for key in record["versions"]}
    return Machine(
        workers=len(records),
        host=Host(
            workers=len(tightest),
            cores=len(tightest) * min(max(1, record["cores"] // len(on)) for on in hosts.values() for record in on),
            free_bytes=_free(tightest),
            name=_all(record["processor"] for record in records),
            total_bytes=min(record["total_bytes"] for record in records),
        ),
        gpus=_merged_gpus(hosts) if len(with_gpu) == len(records) else None,
        bf16=tuple(kind for kind in ("cpu", "cuda") if all(kind in record["bf16"] for record in records)),
        mps=all(record.get("mps", False) for record in records),
        versions=tuple((key, _all(record["versions"].get(key, "none") for record in records)) for key in sorted(names)),
    )


def _free(on_one: list[Mapping[str, Any]]) -> int:
    return min(record["free_bytes"] for record in on_one) + sum(record["held_bytes"] for record in on_one)


def _merged_gpus(hosts: Mapping[str, list[Mapping[str, Any]]]) -> Gpus:
    seen = {(host, gpu) for host, on in hosts.items() for record in on for gpu in record["gpus"]}
    sharing: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for host, on in hosts.items():
        for record in on:
            sharing[host, record["gpu"]["id"]].append(record["gpu"])
    gpus = [gpu for on in sharing.values() for gpu in on]
    return Gpus(
        count=max(len(seen), len(sharing)),
        workers=max(map(len, sharing.values())),
        free_bytes=min(_free(on) for on in sharing.values()),
        name=_all(gpu["name"] for gpu in gpus),
        kernels=_all(gpu["kernels"] for gpu in gpus),
        why=_all(gpu["why"] for gpu in gpus if gpu["why"]),
        total_bytes=min(gpu["total_bytes"] for gpu in gpus),
    )


def _all(values: Iterable[str]) -> str:
    return _AND.join(sorted(set(values)))
