"""A registered joblib backend trains the networks of a block: the example of the docs."""

import doctest
from pathlib import Path

import joblib
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "user-guide" / "fleets.md"


@pytest.mark.usefixtures("workers_for_little")
def test_the_documented_backend_trains_the_networks_of_a_block():
    """Its executor gets the shards of a block, with unchanged results."""
    parser, names = doctest.DocTestParser(), {}
    for example in parser.get_examples(PAGE.read_text(encoding="utf-8")):
        exec(example.source, names)
        if "register_parallel_backend" in example.source:
            n_submitted = []
            submit = names["FuturesBackend"].submit

            def count(*args, submit=submit, n_submitted=n_submitted, **options):
                n_submitted.append(1)
                return submit(*args, **options)

            names["FuturesBackend"].submit = count
    joblib.parallel.BACKENDS.pop("futures")

    assert len(n_submitted) > 1
    assert names["report"].n_adopted == 9
