"""What of a plan is refused before the first hour is spent: settings first, then what is on disk."""

from pathlib import Path

from sslsv_tk.recipes import corpora
from sslsv_tk.recipes.options import Mistake
from sslsv_tk.recipes.plan import Plan, setting
from sslsv_tk.systems.on_disk import System


def check(plan: Plan, after_stage_1: bool = False) -> None:
    """Refuse now what a stage could not do, hours later; what needs the training set as soon as that is there."""
    trains = bool(plan.stages & {4, 5})
    if not after_stage_1:
        if trains:
            _check_settings(plan)
        corpora.check(plan.corpora, plan.stages, plan.options.generated)
        _check_lists(plan)
        _check_systems(plan)
    folder = plan.training_set
    if trains and folder is not None and (after_stage_1 or 1 not in plan.stages):
        from sslsv_tk.recipes import configured

        configured.check_with(folder, plan.system, plan.choices if 5 in plan.stages else [])


def _check_settings(plan: Plan) -> None:
    """A Mistake where stage 4, or stage 5 with one of the positives, cannot be built, or its batch not shared out."""
    from sslsv_tk.recipes import configured

    names = [choice.name for choice in plan.choices if choice.name != "same_utterance"]
    if {4, 5} <= plan.stages and names and not configured.has_positives(plan.system):
        raise Mistake(
            f"--positives {' '.join(names)}: {plan.options.system} is trained on labels and has no positives. "
            "Give --positives none, or leave it out"
        )
    try:
        configured.check(plan.system, plan.choices if 5 in plan.stages else [])
        if plan.initial is not None and 4 in plan.stages:
            configured.check_initial_weights(plan.system, plan.initial)
    except ValueError as error:
        raise Mistake(str(error)) from None
    processes = max(1, plan.machine.ngpu) * int(plan.options.num_nodes)
    batch = setting(plan.system, "training", "batch_size")
    if batch % processes:
        raise Mistake(
            f"--ngpu {plan.machine.ngpu} --num-nodes {plan.options.num_nodes}: a batch of {batch} utterances cannot be "
            f"shared out evenly among {processes} processes. Set training.batch_size to a multiple of {processes}"
        )


def _check_lists(plan: Plan) -> None:
    """Does stage 7 find the lists that an earlier run has prepared?"""
    if 7 not in plan.stages or 1 in plan.stages:
        return
    for trials in plan.corpora.lists:
        prepared = Path(plan.prepared(trials))
        has_set = any(prepared.parent.glob("*.scp"))  # else the stage that reads it says that all of it is missing
        if has_set and not prepared.is_file():
            raise ValueError(
                f"--trials {trials.word or trials.path}: stage 1 has not prepared this list for the test set "
                f"{trials.set} ({prepared} is not there). Name a list of stage 1, or prepare this one: "
                "--stage 1 --stop-stage 1 with the same options"
            )


def _check_systems(plan: Plan) -> None:
    """Is what stage 5 goes on with there, and what stages 6 and 7 evaluate, where no stage of this run makes it?"""
    exp, system = Path(plan.folders["expdir"]), plan.system.name
    made = {system} if 4 in plan.stages else set()
    if 5 in plan.stages:
        made |= {f"{system}_{choice.name}" for choice in plan.choices}
        if 4 not in plan.stages:
            _refuse_unfinished(System(exp / system))
    for name in plan.evaluated if plan.stages & {6, 7} else []:
        if name not in made:
            System(exp / name).checkpoints.path_of(plan.options.checkpoint)


def _refuse_unfinished(stage_4: System) -> None:
    done = max(stage_4.checkpoints.epochs(), default=-1)
    if not stage_4.config_file.is_file() or done < 0:
        raise ValueError(
            f"stage 5 goes on from {stage_4.folder}, which stage 4 has not trained. Begin with --stage 4, or name the "
            "system and the folder (--system, --scale, --tag, --expdir) with which stage 4 was run"
        )
    epochs = stage_4.config().training.epochs
    if done < epochs:
        raise ValueError(
            f"stage 5 goes on from {stage_4.folder}, where stage 4 is at epoch {done} of {epochs}. Let it end: "
            "--stage 4"
        )
