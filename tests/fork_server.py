"""Processes forked from one that has imported torch and the package, once for all tests: a start takes no seconds."""

import multiprocessing

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["sslsv_tk.runs.training_run", "torch._dynamo", "torch.utils.tensorboard"])
