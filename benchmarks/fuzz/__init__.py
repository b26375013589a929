"""Are damaged and forged files refused in words? Readers of everything that comes from elsewhere are given mutations of valid
files and random bytes; each must give its result or its own error for people, quickly, and nothing else.

python -m benchmarks.fuzz --run             every target; one that is complete is not run again
python -m benchmarks.fuzz --run --only idx  some targets
python -m benchmarks.fuzz --summary         prints the stored counts
"""

from benchmarks.fuzz.page import NAME, section, summary

__all__ = ["NAME", "section", "summary"]
