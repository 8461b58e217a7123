"""The signatures that an exercise asks for, and how messages describe a call."""

import ast
from pathlib import Path

import numpy as np

from .diagnose import shape


def signatures(stub):
    """{function: [parameter names]} of the functions in a stub, and of those that it imports from earlier exercises."""
    parameters = {}
    for node in ast.parse(Path(stub).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            parameters[node.name] = [arg.arg for arg in node.args.args]
        elif isinstance(node, ast.ImportFrom) and Path(stub).with_name(f"{node.module}.py").exists():
            earlier = signatures(Path(stub).with_name(f"{node.module}.py"))
            parameters |= {alias.name: earlier[alias.name] for alias in node.names if alias.name in earlier}
    return parameters


def earlier(stub):
    """{function: module} of what a stub imports from earlier exercises."""
    return {alias.name: node.module for node in ast.parse(Path(stub).read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom) and Path(stub).with_name(f"{node.module}.py").exists() for alias in node.names}


def described(name, parameters, args):
    """A call as text: linear(x, W, b)"""
    return f"{name}({', '.join(parameters or [shape(arg) for arg in args])})"


def inputs(parameters, args):
    """[one line with the shapes of the arrays and the values of the numbers among the arguments], or []."""
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
