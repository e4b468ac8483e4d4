"""Runs a job array on a Slurm cluster."""

import os
import shlex
import signal

from sslsv_tk.launch import _signals
from sslsv_tk.launch._slurm import records, scheduler, script, site
from sslsv_tk.launch._slurm.work import Work
from sslsv_tk.launch.base import Backend, Interrupted, JobArray, Outcome, Resources

CONF_VARIABLE, CONF = "SSLSV_SLURM_CONF", "conf/slurm.conf"


class Slurm(Backend):
    """One array job; `conf` is the site's file of options."""

    def _site(self) -> site.Site:
        found = site.read(self.conf or os.environ.get(CONF_VARIABLE) or CONF)
        if found.unknown:
            scheduler.say(f"{found.path}: lines of options that the launcher does not have: {' '.join(found.unknown)}")
        return found

    def describe(self, array: JobArray, resources: Resources) -> str:
        """The call of sbatch and the job script."""
        found = self._site()
        words = script.call(found, array, resources, list(array.numbers), script.unique_name(array))
        return f"# {shlex.join(words)}\n{script.text(found, array, resources)}"

    def run(self, array: JobArray, resources: Resources) -> dict[int, Outcome]:
        """Submit, wait, submit again what its node lost; what is at work is cancelled when a signal stops the array."""
        work = Work(array, resources, self._site(), _signals.stopping())
        if resources.end_with_parent:
            _signals.end_with_parent(signal.SIGTERM)
        with _signals.held(work.stopping), records.alone(work.jobs.folder):
            try:
                work.begin()
                outcomes = work.wait()
            except BaseException as error:
                if not work.cancel() and isinstance(error, Interrupted):
                    error.left = "jobs that may still be at work"
                raise
            work.end()
        return outcomes
