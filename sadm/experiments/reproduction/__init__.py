"""The paper's experiments: what was published, what it would take, a rehearsal of the whole job, and the job itself."""
