"""Speed to quality: the same CPU-seconds on one core for this package and for what people would use instead.

python -m benchmarks.peers --search           # sizes, learning rates, further choices, samplers; hours, resumable
python -m benchmarks.peers --samplers         # the sampler anew, for searches from before it was chosen at ten minutes
python -m benchmarks.peers --run              # what the search chose, at every budget, with the report seeds; resumable
python -m benchmarks.peers --run --only ours_plain dit_loop --budgets 10
python -m benchmarks.peers --summary
python -m benchmarks.peers --verify ours_plain --budgets 10    # trains a stored job anew: does it give what is stored?
python -m benchmarks.peers --quick            # that every contestant runs here end to end; not a result
"""
