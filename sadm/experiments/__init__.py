"""Arms, seeds and budgets: the engine behind ``sadm compare`` and the report that it writes."""
