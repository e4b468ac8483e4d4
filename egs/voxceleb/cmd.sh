# shellcheck shell=bash
# Where jobs run. `local`: this machine; each file of sslsv_tk/launch is such a back end.
#     $train_cmd [--mem 4G] [--num-threads N] [--gpu N] [--max-jobs-run N] [--time T] JOB=1:4 log/x.JOB.log command ... JOB
cmd_backend=${cmd_backend:-local}
export train_cmd="python3 -m sslsv_tk.launch $cmd_backend --end-with-parent" # arrays of jobs on the CPU
export cuda_cmd=$train_cmd                                                 # training
export decode_cmd=$train_cmd                                               # arrays of jobs that run an encoder
