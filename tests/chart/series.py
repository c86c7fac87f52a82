"""The names of the series that our processes tell, for whatever asks for them."""

from prometheus_client import Counter, Gauge, Histogram

from hearsight_core.telemetry import metrics

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def names() -> set[str]:
    """Every name, as a query has to write it."""
    return {
        family.name + suffix
        for instrument in vars(metrics).values()
        if isinstance(instrument, Counter | Gauge | Histogram | metrics.ReadCounter)
        for family in instrument.describe()
        for suffix in _SUFFIXES[family.type]
    }
