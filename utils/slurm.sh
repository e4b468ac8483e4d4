#!/usr/bin/env bash
# A job array on a Slurm cluster, for those who are used to slurm.pl: utils/slurm.sh JOB=1:4 log/x.JOB.log command ... JOB
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.launch slurm "$@"
