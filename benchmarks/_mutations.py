"""Single mutations of a Python file: the plausible slips of somebody who edits it, each as a replacement in its text.

Read from the syntax tree and written into the source, so that a mutant differs from the file in one place only.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ("<", "<=", ">="), ast.LtE: ("<=", "<", ">"), ast.Gt: (">", ">=", "<="), ast.GtE: (">=", ">", "<"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
}  # fmt: skip
OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.LShift: ("<<", ">>"),
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax", "amax": "amin", "floor": "ceil",
    "ceil": "floor", "minimum": "maximum", "maximum": "minimum", "height": "width", "width": "height", "y0": "x0",
    "x0": "y0", "y1": "x1", "x1": "y1", "rows": "cols", "cols": "rows", "float64": "float32", "double": "float",
    "int64": "int32", "uint16": "uint8", "mean": "sum", "append": "extend", "first": "second", "down": "right",
    "right": "down",
}  # fmt: skip
# Calls that are left out: what they are given comes through as it is.
IDENTITIES = {
    "clip", "clamp", "clamp_", "abs", "sorted", "sqrt", "sqrt_", "round", "rint", "triu", "contiguous", "copy", "clone",
    "realpath", "expanduser", "resolve", "strip", "lower", "escape", "fspath", "float",
}  # fmt: skip
MODULES = {"np", "torch", "os", "os.path", "math", "html"}
# Calls whose arguments mean the same in either order, or nothing at all.
UNORDERED = {
    "min", "max", "minimum", "maximum", "isclose", "allclose", "array_equal", "samefile", "hypot", "gcd", "lcm",
    "isinstance", "issubclass",
}  # fmt: skip
GUARDS = (ast.Raise, ast.Return, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Mutation:
    """`after` in place of the characters start..stop (of the file's bytes). line: 1-based."""

    file: str
    line: int
    kind: str
    start: int
    stop: int
    after: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.stop :]

    def lines(self, source: bytes) -> tuple[str, str]:
        """The first line that differs, before and after, without its indentation."""
        pairs = zip(source.decode().splitlines(), self.applied(source).decode().splitlines(), strict=False)
        return next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("", ""))


class _File:
    def __init__(self, name: str, source: bytes) -> None:
        self.name, self.source, self.tree = name, source, ast.parse(source)
        self.names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)} | set(dir(builtins))
        # Tuples that something is looked for in: their order means nothing.
        compared = [node for node in ast.walk(self.tree) if isinstance(node, ast.Compare)]
        self.sets = {
            right
            for node in compared
            for how, right in zip(node.ops, node.comparators, strict=True)
            if isinstance(how, (ast.In, ast.NotIn))
        }
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.AST) -> tuple[int, int]:
        places = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
        return tuple(self._starts[line - 1] + column for line, column in places)  # type: ignore[return-value]

    def text(self, node: ast.AST) -> str:
        start, stop = self.span(node)
        return self.source[start:stop].decode()

    def replaced(self, node: ast.AST, kind: str, after: str) -> Mutation:
        return Mutation(self.name, node.lineno, kind, *self.span(node), after)  # type: ignore[attr-defined]

    def between(self, left: ast.AST, right: ast.AST, kind: str, before: str, after: str) -> Iterator[Mutation]:
        """Replaces the operator `before` that stands between two operands."""
        start, stop = self.span(left)[1], self.span(right)[0]
        at = self.source[start:stop].find(before.encode())
        if at >= 0:
            line = self.source[: start + at].count(b"\n") + 1
            yield Mutation(self.name, line, kind, start + at, start + at + len(before), after)


def _compare(file: _File, node: ast.Compare) -> Iterator[Mutation]:
    operands = [node.left, *node.comparators]
    for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
        now, *others = COMPARISONS[type(operator)]
        for other in others:
            yield from file.between(left, right, "comparison", now, other)


def _binary(file: _File, node: ast.BinOp) -> Iterator[Mutation]:
    textual = any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )
    if type(node.op) in OPERATORS and not textual:
        yield from file.between(node.left, node.right, "operator", *OPERATORS[type(node.op)])


def _constant(file: _File, node: ast.Constant) -> Iterator[Mutation]:
    value = node.value
    if isinstance(value, bool):
        yield file.replaced(node, "constant", str(not value))
    elif isinstance(value, int):
        yield file.replaced(node, "constant", str(value + 1))
        if value > 0:
            yield file.replaced(node, "constant", str(value - 1))
    elif isinstance(value, float):
        yield file.replaced(node, "constant", repr(2 * value if value else 1.0))


def _alike(file: _File, first: ast.expr, second: ast.expr) -> bool:
    """Whether somebody might take one for the other. What no run survives would only flatter the tests."""
    kinds = [type(one.value if isinstance(one, ast.Constant) else one) for one in (first, second)]
    return kinds[0] is kinds[1] and file.text(first) != file.text(second)


def _call(file: _File, node: ast.Call) -> Iterator[Mutation]:
    plain = [one for one in node.args if not isinstance(one, ast.Starred)]
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if len(plain) >= 2 and name not in UNORDERED and _alike(file, *plain[:2]):
        (start, first), (second, stop) = file.span(plain[0]), file.span(plain[1])
        after = file.text(plain[1]) + file.source[first:second].decode() + file.text(plain[0])
        yield Mutation(file.name, node.lineno, "arguments swapped", start, stop, after)
    for keyword in (one for one in node.keywords if one.arg not in SKIPPED_KEYWORDS):
        start, stop = file.span(keyword)
        end = file.source[stop:].lstrip()
        if keyword.arg and end.startswith(b","):
            yield Mutation(file.name, keyword.lineno, "option left out", start, file.source.index(b",", stop) + 1, "")
        elif keyword.arg and node.args:
            comma = file.source.rfind(b",", 0, start)
            yield Mutation(file.name, keyword.lineno, "option left out", comma, stop, "")
    if name in IDENTITIES:
        method = isinstance(node.func, ast.Attribute) and file.text(node.func.value) not in MODULES
        kept = node.func.value if method else node.args[0] if node.args else None  # type: ignore[attr-defined]
        if kept is not None:
            yield file.replaced(node, "call left out", f"({file.text(kept)})")


def _named(file: _File, node: ast.Name | ast.Attribute) -> Iterator[Mutation]:
    name = node.id if isinstance(node, ast.Name) else node.attr
    there = isinstance(node, ast.Attribute) or NAMES.get(name, name) in file.names
    if name in NAMES and there and isinstance(node.ctx, ast.Load):
        yield file.replaced(node, "name", file.text(node)[: -len(name)] + NAMES[name])


def _statement(file: _File, node: ast.stmt) -> Iterator[Mutation]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield file.replaced(node, "statement left out", "pass")
    elif isinstance(node, ast.AugAssign):
        yield file.replaced(node, "statement left out", "pass")
        if type(node.op) in OPERATORS:
            before, after = (f"{one}=" for one in OPERATORS[type(node.op)])
            yield from file.between(node.target, node.value, "operator", before, after)
    elif isinstance(node, (ast.Break, ast.Continue, ast.Delete)) or (
        isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Attribute, ast.Subscript))
    ):
        yield file.replaced(node, "statement left out", "pass")
    elif isinstance(node, (ast.If, ast.While)):
        if isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], GUARDS):
            yield file.replaced(node.test, "guard left out", "False")
        yield file.replaced(node.test, "condition negated", f"not ({file.text(node.test)})")


def _expression(file: _File, node: ast.AST) -> Iterator[Mutation]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield file.replaced(node, "sign or not left out", f"({file.text(node.operand)})")
    elif isinstance(node, ast.BoolOp):
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from file.between(left, right, "and, or", word, other)
    elif isinstance(node, ast.IfExp):
        yield file.replaced(node.test, "condition negated", f"not ({file.text(node.test)})")
    elif isinstance(node, ast.comprehension):
        for condition in node.ifs:
            yield file.replaced(condition, "condition left out", "True")
    elif (
        isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.ctx, ast.Load) and node not in file.sets
    ):
        first, second = node.elts
        between = file.source[file.span(first)[1] : file.span(second)[0]].decode()
        start, stop = file.span(first)[0], file.span(second)[1]
        if _alike(file, first, second):
            after = file.text(second) + between + file.text(first)
            yield Mutation(file.name, node.lineno, "pair swapped", start, stop, after)


READERS: list[tuple[type | tuple[type, ...], Callable[..., Iterator[Mutation]]]] = [
    (ast.Compare, _compare), (ast.BinOp, _binary), (ast.Constant, _constant), (ast.Call, _call),
    ((ast.Name, ast.Attribute), _named), (ast.stmt, _statement), (ast.AST, _expression),
]  # fmt: skip
# Never looked into: words for the type checker and for people who read the source, sets of types (an order that means
# nothing); f-strings have no places in 3.11.
SKIPPED_FIELDS = ("annotation", "returns", "decorator_list", "type_comment")
SKIPPED_KEYWORDS = ("strict", "repr")
SKIPPED = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)
GENERIC = {"Callable", "Union", "dict", "list", "tuple", "type", "set"}


def _is_of_types(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in GENERIC


def _walked(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, SKIPPED) or _is_of_types(node) or getattr(node, "arg", "") in SKIPPED_KEYWORDS:
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in SKIPPED_FIELDS and not (name == "type" and isinstance(node, ast.ExceptHandler)):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walked(child)


def mutations(name: str, source: bytes) -> list[Mutation]:
    """Every mutation of a file, in the order of the file; a few are no Python (see `changes`)."""
    file, found = _File(name, source), set()
    for node in _walked(file.tree):
        for kind, read in READERS:
            if isinstance(node, kind):
                found.update(read(file, node))
    return sorted(found, key=lambda one: (one.start, one.stop, one.after))


def changes(mutation: Mutation, source: bytes) -> bool:
    """Whether what comes out is Python, and other Python."""
    try:
        return ast.dump(ast.parse(mutation.applied(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False
