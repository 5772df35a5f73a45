"""Which flights out of New York are late, and can one tell beforehand? Three pipes over the
336,776 departures of 2013.

    Clean -> Model ---.
        `-------------+-> Delays: a table, a plot and a figure
"""

from __future__ import annotations

from typing import Any

import luigi
import pandas as pd

import bundlerun as br


class Clean(br.Pipe):
    """The departures that took place, with the columns that matter; input: {"raw": a CSV file}."""

    def pipe_run(self, pipeline_input: dict[str, br.File]) -> pd.DataFrame:
        columns = ["month", "hour", "carrier", "origin", "dest", "distance", "dep_delay"]
        flights = pd.read_csv(pipeline_input["raw"].path, usecols=columns)
        print(f"read {len(flights)} departures")
        return flights.dropna(subset=["dep_delay"]).reset_index(drop=True)


class Model(br.Pipe):
    """How well month, hour, distance, carrier and origin foretell a delay of over 15 minutes."""

    sample = luigi.IntParameter(default=60_000, description="departures to learn from")

    def requires(self) -> dict[str, br.Pipe]:
        return {"clean": Clean()}

    def pipe_run(self, pipeline_input: object, clean: pd.DataFrame) -> dict[str, Any]:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import train_test_split

        flights = clean.sample(min(self.sample, len(clean)), random_state=1)
        late = flights["dep_delay"] > 15
        features = flights[["month", "hour", "distance", "carrier", "origin"]].copy()
        for name in ("carrier", "origin"):
            features[name] = features[name].astype("category").cat.codes
        x_train, x_test, y_train, y_test = train_test_split(features, late, random_state=1)
        model = HistGradientBoostingClassifier(max_iter=40, random_state=1).fit(x_train, y_train)
        auc = float(roc_auc_score(y_test, model.predict_proba(x_test)[:, 1]))
        print(f"area under the curve: {auc:.3f}")
        return {"auc": auc, "learned_from": len(x_train)}


class Delays(br.Pipe):
    """The destinations with the longest delays, as a table and a plot."""

    top = luigi.IntParameter(default=10, description="how many destinations")

    def requires(self) -> dict[str, br.Pipe]:
        return {"clean": Clean(), "model": Model()}

    def pipe_run(
        self, pipeline_input: object, clean: pd.DataFrame, model: dict[str, Any]
    ) -> dict[str, Any]:
        by_dest = clean.groupby("dest")["dep_delay"]
        table = pd.DataFrame({"flights": by_dest.size(), "mean_delay_min": by_dest.mean()})
        table = table[table["flights"] >= 100].nlargest(self.top, "mean_delay_min")
        return {
            "table": table,
            "plot": br.File(self._plot(clean, table)),
            "worst": float(table["mean_delay_min"].iloc[0]),
            "auc": model["auc"],
        }

    def _plot(self, clean: pd.DataFrame, table: pd.DataFrame) -> str:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
        left.barh(table.index[::-1], table["mean_delay_min"][::-1], color="#b5472f")
        left.set_title("Longest mean departure delay, minutes, by destination")
        left.tick_params(left=False)
        hourly = clean.groupby("hour")["dep_delay"].mean()
        right.plot(hourly.index, hourly.values, marker="o", color="#1f5673")
        right.set_title("Mean delay, minutes, by scheduled hour")
        right.set_xticks(range(6, 24, 3), [f"{hour}:00" for hour in range(6, 24, 3)])
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        path = self.scratch / "delays.png"
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        return str(path)
