"""The parts of the Slurm back end: the site's options, the job script, what the scheduler says, what runs on a node."""
