import pyarrow as pa
import pytest

from hyena_ray.attribution.model_spread import spread_over_models
from hyena_ray.errors import InputError


def table(q=0.5, **scores):
    columns = {"kmer": list(scores), "score": [float(score) for score in scores.values()]}
    return pa.table(columns | {"q_value": [q] * len(scores)})


def test_the_range_of_ranks_says_whether_a_place_is_stable():
    found = spread_over_models(
        {
            "a": table(AA=9, CC=5, GG=1, TT=0),
            "b": table(AA=90, CC=10, GG=50, TT=0),
            "c": table(AA=3, GG=2, CC=1, TT=-1),
        }
    ).to_pylist()
    assert [row["kmer"] for row in found] == ["AA", "GG", "CC", "TT"]
    ranges = [(row["best_rank"], row["worst_rank"]) for row in found]
    assert ranges == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert found[0]["score"] == pytest.approx(34)
    assert found[1]["rank_b"] == 2


def test_models_in_which_a_kmer_is_significant_are_counted():
    found = spread_over_models({"a": table(0.04, AA=1), "b": table(0.06, AA=2)})
    assert found["significant"].to_pylist() == [1]


def test_only_kmers_of_every_model_are_listed_and_ties_are_in_their_order():
    found = spread_over_models({"a": table(TT=1, AA=1, CC=0), "b": table(TT=1, AA=1, GG=3)})
    assert found["kmer"].to_pylist() == ["AA", "TT"]
    assert found["mean_rank"].to_pylist() == [1.5, 1.5]
    with pytest.raises(InputError, match="share no k-mer"):
        spread_over_models({"a": table(AA=1), "b": table(CC=1)})


def test_one_model_has_no_spread():
    assert spread_over_models({"a": table(AA=1, CC=2)})["sd"].to_pylist() == [None, None]
