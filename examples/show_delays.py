"""Print the table of the bundle `delays` and copy its plot to the path that is given."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import bundlerun as br


def main(plot: Path) -> None:
    """Show the latest version of `delays` in the current context."""
    value = br.get("delays")
    table = Table(title="Longest mean departure delays from New York, 2013", title_justify="left")
    table.add_column("to")
    table.add_column("flights", justify="right")
    table.add_column("minutes", justify="right")
    table.add_column("", no_wrap=True)
    for dest, row in value["table"].iterrows():
        minutes = row["mean_delay_min"]
        bar = "█" * round(32 * minutes / value["worst"])
        table.add_row(str(dest), f"{row['flights']:.0f}", f"{minutes:.1f}", f"[red]{bar}[/]")
    console = Console()
    console.print(table)
    console.print(f"Can one tell beforehand? Area under the ROC curve: {value['auc']:.2f}")
    shutil.copyfile(value["plot"].path, plot)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
