"""A real Prometheus, with what the chart's PodMonitors declare, has data about everything of ours."""

import pytest

from harness import metrics
from harness.manifests import table
from local import prometheus


@pytest.mark.own_cluster
def test_the_queries_return_data(place):
    session = place.session
    assert session.system.names("podmonitors") != []
    prometheus.start(session.own)
    # With units: an on-demand partition alone has no ceiling of its own, and so none to show.
    place.ready(table("measured", billingMode="PROVISIONED", provisionedThroughput=UNITS))
    sdk = place.sdk()
    checker = sdk.check("measured")

    here = f'namespace="{place.name}",table="measured"'
    # Every pod of ours is scraped, with success: two operators, two routers, one storage node of this table.
    metrics.eventually(session, 'up{job=~".*-operator"} == 1', lambda samples: len(samples) == 2)
    metrics.eventually(session, 'up{job=~".*-routers?"} == 1', lambda samples: len(samples) == 2)
    metrics.eventually(session, f'up{{job=~".*-storage",namespace="{place.name}"}} == 1', lambda samples: len(samples) == 1)
    for expression in QUERIES:
        metrics.eventually(session, expression % {"here": here}, positive)
    checker.progress()
    # An error of a client is counted by its name.
    sdk.refused("put_item", TableName="measured", Item={"wrong": {"S": "key"}})
    metrics.eventually(session, 'sum(partita_requests_total{code="ValidationException"}) > 0', positive)
    assert checker.finish()["failed"] == 0
    # Nothing of ours that should be scraped stays down: pods that others restart may be, for a moment.
    metrics.eventually(session, 'up{job=~".*/partita-.*"} == 0', lambda samples: samples == [])


UNITS = {"readCapacityUnits": 200, "writeCapacityUnits": 200}
# What a person asks: operation, units, latency, size; by table, by partition.
QUERIES = [
    'sum(rate(partita_requests_total{operation="PutItem",code="OK"}[30s])) > 0',
    "sum(rate(partita_consumed_write_units_total{%(here)s}[30s])) > 0",
    "sum(rate(partita_consumed_read_units_total{%(here)s}[30s])) > 0",
    "histogram_quantile(0.99, sum by (le) (rate(partita_request_duration_seconds_bucket[30s]))) > 0",
    "sum(partita_partition_bytes{%(here)s}) > 0",
    "sum(partita_partition_items{%(here)s}) > 0",
    "sum by (partition) (rate(partita_partition_consumed_write_units_total{%(here)s}[30s])) > 0",
    "sum by (partition) (rate(partita_partition_consumed_read_units_total{%(here)s}[30s])) > 0",
    "max by (partition) (partita_partition_leads{%(here)s}) == 1",
    "sum(partita_allowed_write_units{%(here)s}) > 0",
    "sum(partita_write_units_balance{%(here)s}) > 0",
    "min by (partition) (partita_partition_allowed_read_units{%(here)s}) > 0",
    "sum(process_resident_memory_bytes{job=~\".*-storage\"}) > 0",
    "sum(rate(partita_log_sync_seconds_count[30s])) > 0",
    "sum(partita_first_level_files >= 0) + 1 > 0",
    'partita_table_condition{%(here)s,condition="Ready"} == 1',
    "sum(partita_operator_reconciles_total) > 0",
    "sum(partita_operator_leader) == 1",
]


def positive(samples):
    return samples != [] and all(float(sample["value"][1]) > 0 for sample in samples)
