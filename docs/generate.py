"""Writes what pages say of the source: docs/api.md, from docstrings and stubs, and the programs that others show.

    python docs/generate.py [--check]

Nothing is imported: modules are read as text, so that the library need not be built. --check changes nothing: exit
status 1 if a page is not current.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "moe_act"
HEAD = """# API reference

Generated from docstrings and stubs by `python docs/generate.py`. Shapes are written `[rows, columns]`, H is the number
of output columns; what the bits are is in [contract.md](contract.md), the C interface in [c_api.md](c_api.md).
"""
SECTIONS = ("Args", "Returns", "Raises", "Yields", "Example", "Examples", "Attributes")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


class Module:
    """A source file or stub: its definitions, where it imports names from, its aliases of types."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        self.definitions = {node.name: node for node in self.tree.body if isinstance(node, Definition)}
        self.origins = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.level == 1
            for alias in node.names
        }
        assigned = [node for node in self.tree.body if isinstance(node, ast.Assign)]
        values = {node.targets[0].id: node.value for node in assigned if isinstance(node.targets[0], ast.Name)}
        self.aliases = {name: value for name, value in values.items() if ast.unparse(value).startswith("Literal[")}
        self.public: list[str] = ast.literal_eval(values["__all__"]) if "__all__" in values else []
        self.constants = {
            name: ": dict" if isinstance(value, ast.Dict) else f" = {ast.unparse(value)}"
            for name, value in values.items()
        }
        for node in self.tree.body:
            if isinstance(node, ast.AnnAssign):
                self.constants[ast.unparse(node.target)] = f": {annotation(self, node.annotation)}"

    @property
    def name(self) -> str:
        parts = self.path.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def home(self, name: str) -> tuple[Module, str]:
        """Where a public name is defined, and as what: here or in the module that it is imported from."""
        source, original = self.origins.get(name, ("", name))
        paths = (self.path.parent / (source + suffix) for suffix in (".pyi", ".py"))
        found = next((path for path in paths if source and path.is_file()), None)
        return Module(found).home(original) if found else (self, original)


class Spelled(ast.NodeTransformer):
    """Annotations for readers: aliases as what they stand for, no private modules."""

    def __init__(self, aliases: dict[str, ast.expr]) -> None:
        self.aliases = aliases

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.aliases.get(node.id, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        text = ast.unparse(node)
        private = re.match(r"(moe_act\.)?_\w+\.|typing\.", text)
        return ast.parse(text[private.end() :], mode="eval").body if private else node


def code(text: str) -> str:
    return f"```python\n{text}\n```\n".replace("'", '"')


def annotation(module: Module, node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(Spelled(module.aliases).visit(node))


def parameters(module: Module, function: Function) -> list[str]:
    arguments = Spelled(module.aliases).visit(function.args)
    listed = re.split(r", (?![^\[(]*[\])])", ast.unparse(arguments))
    return [item.replace("=", " = ") if ": " in item else item for item in listed if item not in ("", "self")]


def fields(module: Module, class_: ast.ClassDef) -> list[str]:
    """Of a data class or named tuple."""
    listed = []
    for node in class_.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            default = f" = {ast.unparse(node.value)}" if node.value is not None else ""
            listed.append(f"{node.target.id}: {annotation(module, node.annotation)}{default}")
    return listed


def signature(name: str, listed: list[str], returns: str = "") -> str:
    tail = f") -> {returns}" if returns else ")"
    line = f"{name}({', '.join(listed)}{tail}"
    if len(line) > 100:
        line = "\n    ".join([f"{name}(", *(f"{item}," for item in listed)]) + f"\n{tail}"
    return code(line)


def is_property(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(name) == "property" for name in node.decorator_list)


def items(lines: list[str]) -> list[str]:
    """`name: what is said` as items of a list; what follows is indented."""
    listed = []
    for line in lines:
        named = re.match(r"([\w.]+(?:, [\w.]+)*): (.*)", line)
        said = ", ".join(f"`{name}`" for name in named[1].split(", ")) if named else ""
        listed.append(f"- {said}: {named[2]}" if named else re.sub(r"^    ", "  ", line))
    return listed


def markdown(docstring: str | None, names: list[str]) -> str:
    """A docstring as Markdown: sections under bold words, names and what is said of them as lists."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring or "").replace("``", "`")
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        heading = lines[0].removesuffix(":") if lines else ""
        if heading in SECTIONS and lines[0] != heading:
            paragraphs.append(f"**{heading}**")
            lines = [line.removeprefix("    ") for line in lines[1:]]
        named = [line.partition(":")[0] in names for line in lines]
        is_list = any(named[:1]) and all(is_name or line[0] == " " for is_name, line in zip(named, lines, strict=True))
        paragraphs.append("\n".join(items(lines) if heading in ("Args", "Raises") or is_list else lines))
    return "\n\n".join(paragraphs).strip() + "\n"


def class_parts(module: Module, name: str, class_: ast.ClassDef) -> Iterator[str]:
    methods = [node for node in class_.body if isinstance(node, ast.FunctionDef)]
    made = next((node for node in methods if node.name == "__init__"), None)
    listed = parameters(module, made) if made else fields(module, class_)
    names = [item.partition(":")[0] for item in listed]
    if listed:  # others are made by functions
        yield signature(name, listed)
    yield markdown(ast.get_docstring(class_), names)
    facts = []
    for node in methods:
        if is_property(node):
            said = " ".join((ast.get_docstring(node) or "").split()).replace("``", "`")
            facts.append(f"- `{node.name}: {annotation(module, node.returns)}`" + (f": {said}" if said else ""))
    if facts:
        yield "\n".join(facts) + "\n"
    for node in methods:
        if node.name[0] != "_" and not is_property(node):
            yield f"#### {name}.{node.name}\n"
            yield from function_parts(module, node.name, node)


def function_parts(module: Module, name: str, function: Function) -> Iterator[str]:
    listed = parameters(module, function)
    yield signature(name, listed, annotation(module, function.returns))
    yield markdown(ast.get_docstring(function), [item.partition(":")[0] for item in listed])


def reference(module: Module) -> Iterator[str]:
    """One module's part of the page."""
    yield f"## {module.name}\n"
    yield markdown(ast.get_docstring(module.tree), [])
    for name in module.public:
        home, original = module.home(name)
        definition = home.definitions.get(original)
        if isinstance(definition, ast.ClassDef):
            parts = class_parts(home, name, definition)
        elif definition is not None:
            parts = function_parts(home, name, definition)
        elif original in home.constants:
            parts = iter([code(name + home.constants[original])])
        else:
            continue  # a module, which has a part of its own
        yield f"### {name}\n"
        yield from parts


def api_page() -> str:
    paths = [*PACKAGE.glob("*.py"), PACKAGE / "oracle" / "__init__.py"]
    modules = sorted(map(Module, paths), key=lambda module: module.name)
    parts = [part for module in modules if module.public for part in reference(module)]
    return HEAD + "\n" + "\n".join(part for part in parts if part.strip())


def with_sources(page: str) -> str:
    """A page with the files that it shows as they are now, each between its two marks."""

    def shown(match: re.Match[str]) -> str:
        path = ROOT / match[1]
        language = {".c": "c", ".txt": "cmake"}.get(path.suffix, "cpp")
        return f"<!-- source: {match[1]} -->\n```{language}\n{path.read_text()}```\n<!-- end of source -->"

    return re.sub(r"<!-- source: (\S+) -->\n.*?<!-- end of source -->", shown, page, flags=re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if something is stale")
    options = parser.parse_args()
    wanted = {path: with_sources(path.read_text()) for path in sorted((ROOT / "docs").glob("*.md"))}
    wanted[ROOT / "docs" / "api.md"] = api_page()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if options.check:
            print(f"{path.relative_to(ROOT)} is not current: run python docs/generate.py", file=sys.stderr)
        else:
            path.write_text(wanted[path])
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
