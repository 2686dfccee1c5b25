"""The figures as Markdown."""

from pathlib import Path


BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def insert(page: Path, text: str) -> None:
    """Replace what the page has between its two marks.

    Raises:
        ValueError: if the page has no marks.
    """
    old = page.read_text()
    if BEGIN not in old or END not in old:
        raise ValueError(f"`table`={page} has no lines `{BEGIN}` and `{END}`.")
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def tables(figures: dict, environment: dict) -> str:
    machine = figures["machine"]
    versions = environment["versions"] | machine["versions"]
    known = ", ".join(f"{name} {v}" for name, v in versions.items() if v)
    parts = [
        f"Measured on {environment['date']}: {machine['cpu']}, {environment['cores']} "
        f"cores{'' if machine['pinned'] else ', not pinned'}; Python "
        f"{environment['python']}, {known}; {machine['compiler']}."
        + (" Per core, time is that of the core." if figures["clock"] == "cpu" else ""),
        f"### Per core, {figures['sites']} x {figures['sites']}\n\n"
        + _per_core(figures["per_core"], figures["errors"]),
    ]
    if figures["diffrax"]:
        parts.append(
            "### What Diffrax adds to a step\n\n" + _diffrax(figures["diffrax"])
        )
    if "parallel" in figures:
        parts.append(
            "### Ensembles on several cores\n\n" + _parallel(figures["parallel"])
        )
    for name, title in (("sizes", "size N"), ("batches", "number of simulations")):
        if name in figures:
            parts.append(f"### Cost over the {title}\n\n" + _cost(figures[name]))
    if figures["left_out"]:
        lines = [f"- {reason}" for reason in figures["left_out"]]
        parts.append("Left out:\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _peers(columns: dict[str, dict]) -> list[str]:
    """Peers of any column, in order."""
    return list(dict.fromkeys(peer for found in columns.values() for peer in found))


def _title(peer: str) -> str:
    return peer.replace(" | ", ", ")


def _per_core(columns: dict[str, dict], errors: dict[str, dict]) -> str:
    def cell(found: dict | None) -> str:
        if found is None:
            return ""
        part = f" ({found['of_c']:.3f})" if "of_c" in found else ""
        return f"{found['rate'] / 1e9:.4g}{part}"

    def error(peer: str) -> str:
        found = [column.get(peer) for column in errors.values()]
        worst = [max(e.values()) for e in found if e]
        return f"{max(worst):.0e}" if worst else "not comparable"

    rows = [
        [
            _title(peer),
            *(cell(found.get(peer)) for found in columns.values()),
            error(peer),
        ]
        for peer in _peers(columns)
    ]
    return (
        "Billions of site-updates per second on one core, and the part of the C "
        "kernel's; last, the largest relative error against gl15's float64 right-hand "
        "side.\n\n" + _table(["", *columns, "error"], rows)
    )


def _diffrax(columns: dict[str, dict]) -> str:
    rows = [
        [
            case,
            f"{1e6 * found['seconds_per_step']:.2f}",
            f"{found['part_of_a_step']:.1%}",
        ]
        for case, found in columns.items()
    ]
    return (
        "The solver as it is, through Diffrax, against a bare `fori_loop` over the "
        "same step, both for the simulations that lie side by side.\n\n"
        + _table(["", "microseconds", "part of a step"], rows)
    )


def _parallel(columns: dict[str, dict]) -> str:
    first = min(columns, key=int)

    def cell(cores: str, peer: str) -> str:
        rate = columns[cores][peer]["rate"]
        gain = rate / columns[first][peer]["rate"]
        return f"{rate / 1e9:.4g} ({gain * int(first) / int(cores):.2f})"

    rows = [[_title(p), *(cell(k, p) for k in columns)] for p in _peers(columns)]
    head = ["", *(f"{k} core{'s' * (k != '1')}" for k in columns)]
    return (
        "Billions of site-updates per second in all, and the parallel efficiency; "
        "default sample.\n\n" + _table(head, rows)
    )


def _cost(columns: dict[str, dict]) -> str:
    def cell(found: dict | None) -> str:
        return f"{1e9 / found['rate']:.3g}" if found else ""

    rows = [
        [_title(peer), *(cell(found.get(peer)) for found in columns.values())]
        for peer in _peers(columns)
    ]
    return "Nanoseconds per site-update on one core.\n\n" + _table(["", *columns], rows)
