"""How the functions of an exercise are asked for, and how a call of one is written down."""

import ast
from pathlib import Path

import numpy as np

from .diagnose import shape


def signatures(stub):
    """{function: its parameters}, as the exercise has them, and as earlier ones have those that it imports."""
    parameters = {}
    for node in ast.parse(Path(stub).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            parameters[node.name] = [arg.arg for arg in node.args.args]
        elif isinstance(node, ast.ImportFrom) and Path(stub).with_name(f"{node.module}.py").exists():
            earlier = signatures(Path(stub).with_name(f"{node.module}.py"))
            parameters |= {alias.name: earlier[alias.name] for alias in node.names if alias.name in earlier}
    return parameters


def earlier(stub):
    """{function: module}: what the stub imports from earlier exercises."""
    return {alias.name: node.module for node in ast.parse(Path(stub).read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom) and Path(stub).with_name(f"{node.module}.py").exists() for alias in node.names}


def described(name, parameters, args):
    return f"{name}({', '.join(parameters or [shape(arg) for arg in args])})"


def inputs(parameters, args):
    """One line with the shapes of the arrays, or values of the numbers, that went in."""
    parts = []
    for label, arg in zip(parameters or (), args):
        if isinstance(arg, np.ndarray):
            small = arg.size <= 8 and arg.ndim == 1
            parts.append(f"{label} = {np.array2string(arg, precision=4, separator=', ')}" if small else f"{label} {shape(arg)}")
        elif isinstance(arg, (int, float, str)):
            parts.append(f"{label} = {arg:.4g}" if isinstance(arg, float) else f"{label} = {arg!r}")
    return ["with " + ",  ".join(parts)] if parts else []


def article(kind):
    return {"NoneType": "nothing (None)"}.get(kind, f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}")
