#!/usr/bin/env bash
# A job array on this machine, for those who are used to run.pl: utils/local.sh JOB=1:4 log/x.JOB.log command ... JOB
. "$(dirname "${BASH_SOURCE[0]}")/../tools/activate_python.sh" || exit 1
exec python3 -m sslsv_tk.launch local "$@"
