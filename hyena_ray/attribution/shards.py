"""Cut attribution into shards that are computed exactly once, and merge them.  No Ray here.

The driver, with any scheduler over shard numbers, calls in this order:

    prepared = PreparedData.open(data)
    model = load_window_model(model_folder)
    plan = ShardPlan.make(model, prepared, split="test", settings=AttributionSettings())
    plan.begin(folder)                     # writes folder/shards/plan.json, or checks a resumed one
    for index in plan.missing(folder):     # in actors, in any order, any number of times
        run_shard(model, prepared, plan, index, folder)
    result = merge(plan, folder)           # writes folder/kmers/*.parquet and *.csv

`plan` is small and picklable: send it to the actors; let every actor open `prepared` and `model`
itself, once.  `run_shard` returns the path of the shard's file; it computes nothing when the file
is complete already, and it may be run twice at once, since a file appears whole or not at all.
`missing` is the list of shards still to do and so also the check that all is done.  `merge` needs
all of them.  What a shard contains depends on the plan alone: not on the number of actors.
"""
