"""Write the JSON schemas for editors and the reference tables of config/README.md from the pydantic models."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pydantic import BaseModel

from junkdna import catalog, claims, config
from junkdna.logs import run

BEGIN, END = "<!-- reference: begin (make docs) -->", "<!-- reference: end -->"
SCHEMAS = {
    "settings": config.Settings,
    "experiment": config.Experiment,
    "catalog": catalog.Catalog,
    "claims": claims.Claims,
}
TABLES: tuple[type[BaseModel], ...] = (
    config.Settings,
    config.Experiment,
    config.Selection,
    config.Series,
    claims.Rules,
    claims.Claim,
    catalog.Model,
    catalog.Hub,
    catalog.Local,
    catalog.Builtin,
    catalog.Corpus,
    catalog.CalibrationData,
    catalog.Method,
    catalog.Task,
    catalog.Variant,
    catalog.Training,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config"), help="folder that holds README.md and schema/")
    return parser.parse_args(argv)


def table(model: type[BaseModel]) -> str:
    """Markdown table of a model's keys: type, default, meaning."""
    schema = model.model_json_schema()
    lines = [
        f"#### {model.__name__}",
        "",
        model.__doc__ or "",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for key, node in schema["properties"].items():
        default = (
            f"`{json.dumps(node['default'])}`"
            if "default" in node
            else ""
            if key in schema.get("required", [])
            else "-"
        )
        lines.append(f"| `{key}` | {kind(node)} | {default or 'required'} | {node.get('description', '')} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def kind(node: dict) -> str:
    """A schema node's type in a few words."""
    if "$ref" in node:
        return node["$ref"].split("/")[-1]
    for union in ("anyOf", "oneOf"):
        if union in node:
            return " or ".join(kind(part) for part in node[union])
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if node.get("type") == "array":
        return f"list of {kind(node.get('items', {}))}"
    if node.get("type") == "object":
        return f"mapping to {kind(node['additionalProperties'])}" if node.get("additionalProperties") else "mapping"
    return node.get("type", "any")


def render(folder: Path) -> dict[Path, str]:
    """Path to the text it should hold."""
    files = {
        folder / "schema" / f"{name}.json": json.dumps(model.model_json_schema(), indent=1) + "\n"
        for name, model in SCHEMAS.items()
    }
    readme = folder / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    tables = "\n\n".join(map(table, TABLES))
    return files | {readme: f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}"}


def main(argv: list[str] | None = None) -> None:
    for path, text in render(parse_args(argv).config).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    run(main)
