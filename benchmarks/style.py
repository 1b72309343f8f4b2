"""How the code reads, counted by logical line, whatever a formatter does:

    python benchmarks/style.py

A logical line is a statement as Python sees it. Tokens are its names, operators and numbers.
Constructs are comprehensions, conditional expressions, boolean chains, lambdas, starred
expressions and walruses.
"""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {"tests", "datasets", "runs"}
COUNTED = {tokenize.NAME, tokenize.OP, tokenize.NUMBER}
STATEMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
CONSTRUCTS = (
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.IfExp,
    ast.BoolOp,
    ast.Lambda,
    ast.Starred,
    ast.NamedExpr,
)


def project_files() -> list[Path]:
    """Return the project's Python files, sorted: no tests, nothing hidden or made by a stage."""
    files = []
    for path in sorted(ROOT.rglob("*.py")):
        folders = path.relative_to(ROOT).parts[:-1]
        hidden = any(name.startswith(".") for name in folders)
        if not hidden and not LEFT_OUT.intersection(folders):
            files.append(path)
    return files


def tokens_of_lines(text: str) -> list[int]:
    """Return the number of tokens of each logical line."""
    lines = []
    count = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in COUNTED:
            count += 1
        elif token.type == tokenize.NEWLINE and count:  # a docstring has none: it is no statement
            lines.append(count)
            count = 0
    return lines


def constructs_of_statements(text: str) -> list[int]:
    """Return the number of constructs in each assignment, return and call; docstrings are none."""
    statements = []
    for node in ast.walk(ast.parse(text)):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, STATEMENTS) and not docstring:
            found = [part for part in ast.walk(node) if isinstance(part, CONSTRUCTS)]
            statements.append(len(found))
    return statements


def row(name: str, physical: int, tokens: list[int], constructs: list[int]) -> str:
    """Return the line of the table for one file, or for all; an empty file has zeros."""
    ordered = sorted(tokens) or [0]
    median = statistics.median(ordered)
    ninety = ordered[len(ordered) * 9 // 10]
    packed = sum(number >= 2 for number in constructs)
    share = 100 * packed / max(len(constructs), 1)
    return f"{name:45} {physical:6} {len(tokens):8} {median:7.0f} {ninety:5} {share:9.1f}"


def main() -> None:
    """Return nothing; print a row a file, and one of all files together."""
    print(f"{'file':45} {'lines':>6} {'logical':>8} {'median':>7} {'90 %':>5} {'packed %':>9}")
    physical = 0
    tokens = []
    constructs = []
    for path in project_files():
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(ROOT))
        own_lines = text.count("\n")
        own_tokens = tokens_of_lines(text)
        own_constructs = constructs_of_statements(text)
        print(row(name, own_lines, own_tokens, own_constructs))
        physical += own_lines
        tokens += own_tokens
        constructs += own_constructs
    print(row("all", physical, tokens, constructs))


if __name__ == "__main__":
    main()
