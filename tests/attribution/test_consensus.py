import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.attribution.consensus import (
    LEAST_TAU,
    agreement,
    consensus_ranking,
    disagreements,
    rank_biased_overlap,
    rank_percentile,
)
from hyena_ray.errors import InputError


def table(**scores):
    return pa.table({"kmer": list(scores), "score": [float(s) for s in scores.values()]})


@pytest.mark.parametrize(
    ("ig", "smoothgrad", "column", "ranking", "positive_only", "rows"),
    [
        (
            "zdna_top_kmers_IG_final.csv",
            "zdna_top_kmers_smoothgrad_final.csv",
            "AvgScore",
            "zdna_full_ranking_IG_vs_SG.csv",
            False,
            925,
        ),
        (
            "promoter_5mers_interpretation_IGseqclass.csv",
            "promoter_5mers_interpretation_smoothgrad.csv",
            "avg",
            "promoter_ranking2_IG_vs_SG_corrected.csv",
            True,
            359,
        ),
    ],
)
def test_the_tables_of_the_original_work_give_its_own_consensus(
    shared, ig, smoothgrad, column, ranking, positive_only, rows
):
    folder = shared / "reference" / "study_kmer_tables"
    tables = {}
    for name, file in (("ig", ig), ("smoothgrad", smoothgrad)):
        published = pyarrow.csv.read_csv(folder / file)
        (score,) = [c for c in published.column_names if c.startswith(column)]
        tables[name] = pa.table({"kmer": published["kmer"], "score": published[score]})
    expected = pyarrow.csv.read_csv(folder / ranking)
    found = consensus_ranking(tables, by="deviation", positive_only=positive_only)
    assert found.num_rows == rows
    assert found["kmer"].to_pylist() == expected["kmer"].to_pylist()
    np.testing.assert_allclose(found["mean_dev"], expected["mean_dev"], rtol=1e-9)


def test_only_kmers_of_every_method_are_ranked():
    found = consensus_ranking({"a": table(AA=3, AC=1, GG=2), "b": table(AA=1, AC=5, TT=9)})
    assert sorted(found["kmer"].to_pylist()) == ["AA", "AC"]


def test_means_are_over_the_kmers_that_all_methods_have():
    found = consensus_ranking(
        {"a": table(AA=3, AC=1, GG=100), "b": table(AA=2, AC=2)}, by="deviation"
    )
    assert found.to_pylist()[0]["dev_a"] == pytest.approx(50)


def test_ranks_survive_a_mean_near_zero_where_the_deviation_turns_round():
    scores = table(AA=3, AC=-1, AG=-2, AT=-0.001)
    assert consensus_ranking({"a": scores})["kmer"].to_pylist() == ["AA", "AT", "AC", "AG"]
    below = table(AA=3, AC=-2, AG=-4)
    assert consensus_ranking({"a": below}, by="deviation")["kmer"][0].as_py() == "AG"


def test_ties_are_in_the_order_of_the_kmers():
    found = consensus_ranking({"a": table(TT=1, AA=1, CC=2)})
    assert found["kmer"].to_pylist() == ["CC", "AA", "TT"]


def test_percentiles_run_from_0_to_100_and_ties_share_their_mean():
    assert rank_percentile(np.array([5.0, -1, 2, 2, 9])).tolist() == [75, 0, 37.5, 37.5, 100]
    assert rank_percentile(np.array([3.0])).tolist() == [50]


@pytest.mark.parametrize("tables", [{}, {"a": table(AA=1), "b": table(AAA=1)}])
def test_tables_without_a_kmer_in_common_are_refused(tables):
    with pytest.raises(InputError, match="consensus"):
        consensus_ranking(tables)


def overlap_by_hand(first, second, persistence):
    shares = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, len(first) + 1)]
    total = sum(share * persistence**d for d, share in enumerate(shares, start=1))
    return shares[-1] * persistence ** len(first) + (1 - persistence) / persistence * total


@given(st.permutations(range(9)), st.permutations(range(9)), st.floats(0.1, 0.99))
def test_rank_biased_overlap_is_that_of_its_definition(first, second, persistence):
    found = rank_biased_overlap(np.array(first), np.array(second), persistence)
    assert found == pytest.approx(overlap_by_hand(first, second, persistence))
    assert rank_biased_overlap(np.array(first), np.array(first), persistence) == pytest.approx(1)


def test_agreement_compares_each_two_over_what_all_share():
    tables = {
        "a": table(AA=3, AC=2, AG=1, TT=9),
        "b": table(AA=30, AC=20, AG=10),
        "c": table(AA=1, AC=2, AG=3),
    }
    rows = agreement(tables).to_pylist()
    assert [(row["first"], row["second"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [row["kendall_tau"] for row in rows] == pytest.approx([1, -1, -1])
    assert rows[0]["rbo"] == pytest.approx(1)
    assert rows[1]["rbo"] == rows[2]["rbo"] < 1
    assert {row["kmers"] for row in rows} == {3}


def test_the_top_of_a_ranking_weighs_more_than_its_end():
    best = np.arange(200)
    top, end = best.copy(), best.copy()
    top[[0, 1, 2, 3]], end[[196, 197, 198, 199]] = [3, 2, 1, 0], [199, 198, 197, 196]
    assert rank_biased_overlap(best, top) < rank_biased_overlap(best, end) < 1


def test_only_pairs_below_the_least_tau_disagree():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=60)
    kmers = [str(number) for number in range(60)]
    tables = {
        name: table(**dict(zip(kmers, values, strict=True)))
        for name, values in (
            ("a", scores),
            ("like_a", scores + 0.1 * rng.normal(size=60)),
            ("other", rng.normal(size=60)),
        )
    }
    similarity = agreement(tables)
    low = [row for row in similarity.to_pylist() if row["kendall_tau"] < LEAST_TAU]
    notes = disagreements(similarity, {"other": "The other"})
    assert len(notes) == len(low) == 2
    assert all("The other" in note and "like_a rank" not in note for note in notes)
