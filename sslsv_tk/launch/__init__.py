"""Runs a job array: `python3 -m sslsv_tk.launch local JOB=1:4 log/x.JOB.log command ... JOB`; one file per back end."""
