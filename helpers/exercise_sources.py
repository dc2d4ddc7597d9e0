"""Exercises as source text: solutions taken out for students, or taken for teachers.

Of use to `helpers.student` only, which leaves this module out of what it copies.
"""

from __future__ import annotations

import ast
import base64
import copy
import zlib
from collections.abc import Iterator

UNPACK = "exec(__import__('zlib').decompress(__import__('base64').b85decode({!r})))"


def exercises(tree: ast.Module) -> Iterator[tuple[ast.Call, ast.FunctionDef]]:
    """(the call of ``exercise(name, hints, solve)``, the function ``solve``), all of a module."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        for call in function.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "exercise":
                yield call, functions[call.args[2].id]


def without_solutions(source: str, hints: int) -> str:
    """A module of exercises with the first `hints` hints of each, and what its checks need."""
    tree = ast.parse(source)
    for call, solve in list(exercises(tree)):
        call.args[1].elts = call.args[1].elts[:hints]
        call.args[2] = ast.Constant(None)
        place = tree.body.index(solve)
        del tree.body[place]
        if solve.name in _names(tree):
            packed = base64.b85encode(zlib.compress(ast.unparse(solve).encode()))
            tree.body[place:place] = ast.parse(UNPACK.format(packed)).body
    return f"{ast.unparse(tree)}\n"


def solutions(source: str) -> dict[str, str]:
    """The body of each solution in a module of exercises, after the imports that it needs."""
    tree, lines, bodies = ast.parse(source), source.splitlines(), {}
    for call, solve in exercises(tree):
        imports, used = [], _names(solve)
        for node in (n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)):
            needed = copy.copy(node)
            needed.names = [name for name in node.names if (name.asname or name.name) in used]
            imports += [f"    {ast.unparse(needed)}"] * bool(needed.names)
        body = lines[solve.body[0].lineno - 1 : solve.end_lineno]
        bodies[call.args[0].value] = "\n".join([*imports, *[""] * bool(imports), *body])
    return bodies


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
