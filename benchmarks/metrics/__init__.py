"""Do the metrics agree with the public packages, and what does the Fréchet distance cost?

python -m benchmarks.metrics --quick        # prints, within 50 s; packages that are not installed are named
make benchmark-metrics                      # --run in an environment that holds them all; stores the result
python -m benchmarks.metrics --summary
"""
