"""Provenance of a run: configuration, data, versions, hardware, and hashes of its files."""

from collections.abc import Mapping
from typing import Any

from alloyk.data import SPLITS
from alloyk.messages import shown
from alloyk.reporting.page import Block, Code, NameValues, Table
from alloyk.runs.facts import UNKNOWN_GROUPING, Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.settings import RunSettings


def data_blocks(facts: Facts, settings: RunSettings) -> list[Block]:
    """Describe the images."""
    rows = []
    data = settings.data
    if data.path:
        rows.append(("folder in training", str(data.path)))
    elif data.simulate:
        rows.append(("simulated from", _inline(data.simulate)))
    if facts.images:
        parts = [f"{name} {facts.images[name]:,}" for name in SPLITS if name in facts.images]
        rows.append(("images", ", ".join(parts)))
    if facts.classes:
        rows.append(("classes", ", ".join(facts.classes)))
    if facts.grouped_by != UNKNOWN_GROUPING:
        rows.append(("split grouped by", facts.grouped_by or "nothing: image by image"))
    if facts.fingerprint:
        rows.append(
            ("fingerprint (SHA-256 of paths, labels, splits, sizes, times)", facts.fingerprint)
        )
    return [NameValues(rows)] if rows else []


def provenance_blocks(run: RunFolder, facts: Facts, settings: RunSettings) -> list[Block]:
    """List seeds, versions, hardware, hashes and the whole configuration."""
    rows = []
    if facts.fine_tuned_from:
        text = f"{shown(facts.fine_tuned_from)}, with fake quantisation, for its int8 export"
        rows.append(("fine-tuned from", text))
    seeds = {"training": settings.seed, "split": settings.section("data").get("split_seed")}
    given = [f"{name} {seed}" for name, seed in seeds.items() if seed is not None]
    if given:
        rows.append(("seeds", ", ".join(given)))
    versions = {"alloyk": facts.alloyk, "Python": facts.python, **facts.packages}
    known = [f"{name} {version}" for name, version in versions.items() if version]
    if known:
        rows.append(("versions", ", ".join(known)))
    if facts.processor:
        rows.append(("processor", facts.processor))
    if facts.devices:
        rows.append(("devices", ", ".join(facts.devices)))
    hashes = [[name, digest] for name, digest in run.hashes().items()]
    blocks: list[Block] = [NameValues(rows)] if rows else []
    if hashes:
        blocks.append(Table("SHA-256 of the run's files", ("file", "SHA-256"), hashes))
    file = run.config_file
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        blocks.append(Code(f"Configuration: {file.name}, everything resolved", text))
    return blocks


def kind_of_model(run: RunFolder, settings: RunSettings) -> str:
    """Return the architecture, or the members of an ensemble; empty where neither is known."""
    ensemble = run.ensemble
    if ensemble:
        return f"{ensemble.vote} vote of {', '.join(ensemble.names)}"
    return settings.arch or ""


def _inline(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, {}))
