"""Compile every Triton kernel for GPU generations without a GPU; prints a JSON list of resource reports.

Run as `python aot.py CAPABILITY...`, as `python aot.py all CAPABILITY...` for every pairing of layout and guides, as
`python aot.py twin CAPABILITY` for one whose PTX another's is, or as `python aot.py spill CAPABILITY` for one kernel
cut so that it must spill; in a process of its own, since the interpreter's switch must be off at import.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.compiler import ASTSource

from kernels import gram_launch, gram_triton, step_launch, step_triton, trunk_launch, trunk_triton

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
RINGS = [(512, 512, torch.bfloat16), (64, 64, torch.float32)]
CASES = [(64, torch.bfloat16), (512, torch.bfloat16), (64, torch.float32)]

# Of each kernel: the planes in the features' type, and the strides that are 1 where channels are last.
PLANES = {
    gram_triton.partial_sums: ({"f_ptr"}, {"f_c"}),
    gram_triton.reduce_sums: (set(), set()),
    gram_triton.backward: ({"f_ptr", "out_ptr", "s_ptr"}, {"f_c", "o_c"}),
    trunk_triton.ring_line: ({"f_ptr", "x_ptr", "w_ptr", "b_ptr"}, {"f_c", "x_c", "w_k"}),
    trunk_triton.ring_line_backward: ({"grad_ptr", "u_ptr", "w_ptr"}, {"g_c", "u_c", "w_k"}),
    trunk_triton.pool: ({"f_ptr", "out_ptr"}, {"f_c", "o_c"}),
    trunk_triton.pool_backward: ({"f_ptr", "g_ptr", "out_ptr"}, {"f_c", "g_c", "o_c"}),
    step_triton.content_term: ({"grad_ptr", "f_ptr", "t_ptr"}, {"g_c", "f_c", "t_c"}),
    step_triton.adam_step: ({"g_ptr"}, {"g_c"}),
}
# A generation that has another's cuts and instructions, so that their PTX differs in the name of the target alone.
TWINS = {89: 86}
WIDE = {"factor_ptr", "loss_ptr"}  # of the reduction
FLOATS = {"high", "low", "twice", "gained1", "kept2", "gained2", "epsilon", "smooth", "chroma", "light"}
SOME = [("planes", False), ("pixels", True)]
MEANS = ("pixels", True, True)
ALL = [*SOME, ("planes", True), ("pixels", False)]


def source(kernel: Any, dtype: torch.dtype, layout: str, constants: dict[str, Any]) -> ASTSource:
    """What the launcher would pass: pointers and channels' strides divisible by 16, a stride of one as a constant."""
    narrow, unit = PLANES[kernel]
    if layout == "planes":
        unit = {name.replace("_c", "_x") for name in unit}
    wide = WIDE if kernel is gram_triton.reduce_sums else set()
    types: dict[str, str] = {}
    values = dict(constants)
    for name in kernel.arg_names:
        if name in constants or name in unit:
            types[name] = "constexpr"
            values.setdefault(name, 1)
        elif name.endswith("_ptr"):
            types[name] = "*" + (TYPES[dtype] if name in narrow else "fp64" if name in wide else "fp32")
        else:
            types[name] = "fp32" if name in FLOATS else "i32"
    divisible = [
        not one.do_not_specialize
        and (
            one.name.endswith("_ptr")
            or (types[one.name] == "i32" and re.fullmatch(r"c|channels|depth|[a-z]_[a-z]", one.name))
        )
        for one in kernel.params
    ]
    aligned = {(i,): [["tt.divisibility", 16]] for i, yes in enumerate(divisible) if yes}
    return ASTSource(kernel, types, values, aligned)


def job(
    kernel: Any, c: int, dtype: torch.dtype, layout: str, guided: bool, cut: gram_launch.Config, means: bool = False
) -> Any:
    """Name, source and options of one compilation. means: with the features' own sums."""
    constants: dict[str, Any] = {"GUIDED": guided, "UPCAST": False, "BC": cut.channels, "BP": cut.pixels}
    if kernel is gram_triton.backward:
        constants |= {"UPSTREAM": True, "RELU": True, "SHIFT": means, "BK": cut.depth}
    else:
        constants |= {"ONE": c <= cut.channels, "MEANS": means}
    name = f"{kernel.__name__} C={c} {TYPES[dtype]} {layout}{' guided' * guided}{' means' * means}"
    return name, source(kernel, dtype, layout, constants), {"num_warps": cut.warps, "num_stages": cut.stages}


def jobs(capability: tuple[int, int], pairs: Sequence[tuple[str, bool]] = SOME) -> list[Any]:
    """Every kernel in the cuts that this generation would run, for pairs of layout and whether there are guides."""
    found = []
    for (c, dtype), (layout, guided, means) in itertools.product(CASES, [*((*one, False) for one in pairs), MEANS]):
        cut = gram_launch.sums_config(c, dtype, capability, guided, means)
        found.append(job(gram_triton.partial_sums, c, dtype, layout, guided, cut, means))
        cut = gram_launch.backward_config(c, dtype, capability, guided)
        found.append(job(gram_triton.backward, c, dtype, layout, guided, cut, means))
    for mirror in (True, False):
        constants = {"SUMS": mirror, "STYLE": True, "OFFSET": mirror, "MIRROR": mirror, "BS": 16, "BJ": 128}
        reduce = source(gram_triton.reduce_sums, torch.float32, "planes", constants)
        found.append((f"reduce_sums mirror={mirror}", reduce, {"num_warps": 4}))
    return found + step_jobs()


def step_jobs() -> list[Any]:
    """The kernels of the trunk and the step, which are cut alike on every generation."""
    found = []
    for c, depth, dtype in RINGS:
        cut = trunk_launch.ring_config(c, depth, dtype)
        constants = {"UPCAST": False, "BP": cut.pixels, "BC": cut.channels, "BK": cut.depth}
        options = {"num_warps": cut.warps, "num_stages": cut.stages}
        for kernel, more in (
            (trunk_triton.ring_line, {"REPEAT": True, "SKIPPED": 1}),
            (trunk_triton.ring_line_backward, {"CORNERS": True}),
        ):
            name = f"{kernel.__name__} {depth} to {c} {TYPES[dtype]}"
            found.append((name, source(kernel, dtype, "pixels", constants | more), options))
    for kernel, constants in (
        (trunk_triton.pool, {"LARGEST": True}),
        (trunk_triton.pool_backward, {"LARGEST": True, "RELU": True}),
        (trunk_triton.pool_backward, {"LARGEST": False, "RELU": True}),
        (step_triton.content_term, {"WEIGHTED": True, "RELU": True}),
    ):
        cut = trunk_launch.blocks(100, 64)[1]
        made = source(kernel, torch.bfloat16, "pixels", constants | cut | {"UPCAST": False})
        found.append((f"{kernel.__name__} {constants}", made, {}))
    adam = source(step_triton.adam_step, torch.bfloat16, "pixels", {"C": 3, "BP": step_launch.PIXELS})
    return [*found, ("adam_step", adam, {})]


def resources(cubin: bytes) -> dict[str, int]:
    """Registers, stack, shared and local bytes from the bundled cuobjdump's -res-usage."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", text)}


def compiled(arch: int, source: ASTSource, options: dict[str, int]) -> Any:
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def report(arch: int, name: str, found: Any) -> dict[str, Any]:
    """What a compiled job uses, and whether every product of float32 starts from zero."""
    used = resources(found.asm["cubin"])
    dots = re.findall(r"tt\.dot %\w+, %\w+, %(\w+)", found.asm["ttgir"]) if "fp32" in name else []
    fresh = all(start.startswith("cst") for start in dots)
    return {"arch": arch, "kernel": name, "dynamic_shared": found.metadata.shared, "fresh": fresh, **used}


def twin(known: dict[str, Any], ptx: str, source: ASTSource, options: dict[str, int], whole: bool) -> dict[str, Any]:
    """The report of the twin of a job, assembled from the job's PTX. whole: compiled as well, to compare it."""
    arch = TWINS[known["arch"]]
    renamed = ptx.replace(f".target sm_{known['arch']}", f".target sm_{arch}")
    backend = CUDABackend(GPUTarget("cuda", arch, 32))
    used = resources(backend.make_cubin(renamed, {}, backend.parse_options(dict(options)), arch))
    same = {"same": compiled(arch, source, options).asm["ptx"] == renamed} if whole else {}
    return {**known, "arch": arch, **used, **same}


def main() -> None:
    first, *rest = sys.argv[1:]
    if first == "spill":
        cut = gram_launch.Config(channels=64, pixels=64, warps=8, stages=2, depth=64)
        name, source, options = job(gram_triton.backward, 64, torch.float32, "planes", True, cut)
        print(json.dumps([report(int(rest[0]), name, compiled(int(rest[0]), source, options))]))
        return
    numbers = list(map(int, rest if first in ("all", "twin") else sys.argv[1:]))
    reports, seen = [], set()
    for arch in numbers:
        if arch in TWINS:
            cuts, others = (jobs((one // 10, one % 10), ALL) for one in (arch, TWINS[arch]))
            assert [(name, made.constants, options) for name, made, options in cuts] == [
                (name, made.constants, options) for name, made, options in others
            ], "a twin has its own cuts"
        for name, source, options in jobs((arch // 10, arch % 10), ALL if first == "all" else SOME):
            found = compiled(arch, source, options)
            reports.append(report(arch, name, found))
            if arch in TWINS:
                # Of each kernel one job is compiled afresh, or all of them.
                whole = first == "twin" or source.name not in seen
                seen.add(source.name)
                reports.append(twin(reports[-1], found.asm["ptx"], source, options, whole))
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
