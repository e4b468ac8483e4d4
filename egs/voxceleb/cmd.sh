# shellcheck shell=bash
# Where jobs run. `local`: this machine; `slurm`: a cluster, called as conf/slurm.conf says (docs/slurm.md).
# Edit the first line, or `export cmd_backend=slurm`; each file of sslsv_tk/launch is such a back end.
#     $train_cmd [--mem 4G] [--num-threads N] [--gpu N] [--num-nodes N] [--max-jobs-run N] [--time T] JOB=1:4 log/x.JOB.log command ... JOB
cmd_backend=${cmd_backend:-local}
_launch="python3 -m sslsv_tk.launch $cmd_backend --end-with-parent"
export train_cmd=$_launch                       # arrays of jobs on the CPU
export cuda_cmd="$_launch --signal-seconds 120" # training: it saves its state so many seconds before its time limit
export decode_cmd=$_launch                      # arrays of jobs that run an encoder
unset _launch
