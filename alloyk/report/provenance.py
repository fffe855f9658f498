"""Where a run comes from: configuration, data, versions, hardware, and hashes to hold on to."""

from pathlib import Path

from alloyk.comparison.runs import read_ensemble
from alloyk.config import read_yaml
from alloyk.files import sha256
from alloyk.report.page import Block, Code, Facts, Table

HASHED = (
    "config.yaml", "split.csv", "model.keras", "history.csv", "predictions.csv",
    "predictions_val.csv", "metrics.json",
)  # fmt: skip


def data_blocks(facts: dict, config: dict) -> list[Block]:
    """What the images were."""
    rows = []
    data = config.get("data") or {}
    if data.get("path"):
        rows.append(("folder in training", str(data["path"])))
    elif data.get("simulate"):
        rows.append(("simulated from", _inline(data["simulate"])))
    images = facts.get("images") or {}
    if images:
        parts = [f"{name} {images[name]:,}" for name in ("train", "val", "test") if name in images]
        rows.append(("images", ", ".join(parts)))
    if facts.get("classes"):
        rows.append(("classes", ", ".join(facts["classes"])))
    if "grouped_by" in facts:
        rows.append(("split grouped by", facts["grouped_by"] or "nothing: image by image"))
    if facts.get("fingerprint"):
        rows.append(
            ("fingerprint (SHA-256 of paths, labels, splits, sizes, times)", facts["fingerprint"])
        )
    return [Facts(rows)] if rows else []


def origin_blocks(run: Path, facts: dict, config: dict) -> list[Block]:
    """Seeds, versions, hardware, hashes and the whole configuration."""
    rows = []
    seeds = {"training": config.get("seed"), "split": (config.get("data") or {}).get("split_seed")}
    given = [f"{name} {seed}" for name, seed in seeds.items() if seed is not None]
    if given:
        rows.append(("seeds", ", ".join(given)))
    versions = {"alloyk": facts.get("alloyk"), "Python": facts.get("python")}
    versions |= facts.get("packages") or {}
    known = [f"{name} {version}" for name, version in versions.items() if version]
    if known:
        rows.append(("versions", ", ".join(known)))
    if facts.get("processor"):
        rows.append(("processor", facts["processor"]))
    if facts.get("devices"):
        rows.append(("devices", ", ".join(facts["devices"])))
    hashes = [[name, digest] for name, digest in file_hashes(run).items()]
    blocks: list[Block] = [Facts(rows)] if rows else []
    if hashes:
        blocks.append(Table("SHA-256 of the run's files", ("file", "SHA-256"), hashes))
    file = run / "config.yaml"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        blocks.append(Code("Configuration: config.yaml, everything resolved", text))
    return blocks


def file_hashes(run: Path) -> dict[str, str]:
    """File → SHA-256 in hexadecimal, of the files in a run that its figures come from."""
    return {name: sha256(run / name) for name in HASHED if (run / name).is_file()}


def read_config(run: Path) -> dict:
    """The run's configuration as plain values; empty where it has none.

    Not checked: a configuration that this version no longer takes can be reported.
    """
    file = run / "config.yaml"
    return read_yaml(file) if file.is_file() else {}


def kind_of_model(run: Path, config: dict) -> str:
    """The architecture, or who votes; empty where neither is known."""
    ensemble = read_ensemble(run)
    if ensemble:
        return f"{ensemble['vote']} vote of {', '.join(m['run'] for m in ensemble['members'])}"
    return (config.get("model") or {}).get("arch", "")


def _inline(values: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, {}))
