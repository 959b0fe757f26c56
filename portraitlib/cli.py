"""The `portraitlib` command. A mistake of the user is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import glob
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import portraitlib as pl
from portraitlib.batch.batch import run_batch, split_name
from portraitlib.batch.notebook import NotebookFailed
from portraitlib.batch.runs import demo
from portraitlib.cost import Budget, BudgetSpent
from portraitlib.portrait import check_writable, write_whole
from portraitlib.settings import UsageError
from portraitlib.training import command

CLUSTER = """\
Everything is checked before anything runs. The same command again runs only what is missing or
failed. Exit code: 0 all done, 1 a run failed, 2 a mistake, 3 the budget is spent, 130 stopped.

On many machines, by Ray (photos that a parameter names have to lie at the same path on each):

  ray start --head                     on the first
  ray start --address=FIRST:6379       on the others
  portraitlib batch ... --engine ray
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0 all done, 1 a notebook failed, 2 a mistake, 3 the budget is spent, 130 stopped.
    """
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except UsageError as problem:
        return _complain(str(problem), 2)
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        return _complain(f"{where}{problem.strerror or problem}", 2)
    except KeyboardInterrupt as stopped:
        return _complain(str(stopped) or "stopped; nothing half made was kept", 130)
    except BudgetSpent as problem:
        return _complain(str(problem), 3)
    except NotebookFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _complain(message: str, code: int) -> int:
    print(f"portraitlib: {' '.join(message.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="portraitlib",
        description="Portraits from words, on any machine.",
        epilog="The model is the embedded `mini` where there is no GPU, else `sdxl`.",
    )
    parser.add_argument("--version", action="version", version=f"portraitlib {pl.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (run, about, epilog, arguments) in COMMANDS.items():
        layout = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(name, help=about, epilog=epilog, formatter_class=layout)
        command.set_defaults(run=run)
        for flags, metavar, text, more in arguments:
            names = flags.split()
            placed = {"metavar": metavar} if metavar else {}
            command.add_argument(*names, help=text, **placed, **more)
    return parser


# --- the commands --------------------------------------------------------------------------------


def _generate(chosen: argparse.Namespace) -> None:
    """Draw, save, print the paths. Everything that can be refused early is."""
    sampling = pl.Sampling(
        seed=chosen.seed,
        num_images=chosen.num_images,
        num_inference_steps=chosen.steps,
        guidance_scale=chosen.guidance_scale,
        size_px=chosen.size_px,
        negative_prompt=chosen.negative_prompt,
        speed=chosen.speed,
    )
    folder = Path(chosen.output).expanduser().absolute()
    check_writable(folder)
    model = pl.load_model(chosen.model)
    print(model, file=sys.stderr)
    for portrait in pl.text_to_image(model, chosen.prompt, sampling):
        print(portrait.save(_free_name(folder, chosen.prompt, portrait.recipe.get("seed", 0))))


def _portrait(chosen: argparse.Namespace) -> None:
    """Make portraits until there is enough to choose from, or draw once more one that pleased."""
    check_writable(Path(chosen.output).expanduser().absolute())
    model = pl.load_model(chosen.model)
    photos = pl.subject_photos()
    if chosen.folder is not None:
        caption = f"portrait of {{identifier}} {chosen.who}"
        photos = pl.read_photos(chosen.folder, size_px=model.preset.size_px, caption=caption)
    if chosen.again:
        source = Path(chosen.again).expanduser()
        portrait = pl.draw_again(source, chosen.seed, photos, model)
        place = source.absolute().parent.parent / "again"
        print(portrait.save(place / f"{source.stem}-{chosen.seed}.png"))
        return
    done = pl.make_portraits(
        model,
        photos,
        chosen.style or None,
        folder=chosen.output,
        keep=chosen.keep,
        who=chosen.who,
        quick=chosen.quick,
        adapter=None if chosen.adapter is None else pl.Adapter.open(chosen.adapter),
        seed=chosen.seed,
        budget=Budget(chosen.budget, chosen.minutes and 60 * chosen.minutes),
        on_step=pl.print_progress(),
    )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    _say(f"{done}\nopen {done.page}")
    if done.stopped:
        raise BudgetSpent(done.stopped)


def _photos(chosen: argparse.Namespace) -> None:
    """Read, report, write the sheet, print its path."""
    target = Path(chosen.output).expanduser().absolute()
    if target.suffix.lower() != ".png":
        raise UsageError(f"--output: got {chosen.output!r}, expected a file that ends in .png")
    check_writable(target.parent)
    photos = pl.read_photos(chosen.folder, size_px=chosen.size_px, identifier=chosen.identifier)
    print(photos.report)
    file = io.BytesIO()
    pl.show_photos(photos).savefig(file, format="png")
    write_whole(target, file.getvalue())
    print(target)


def _train(chosen: argparse.Namespace) -> None:
    """Train, or write a settings file to train with."""
    if chosen.example:
        print(command.example_file(chosen.model), end="")
    elif chosen.plan:
        print(command.write_plan(chosen.plan))
    elif chosen.settings is None:
        raise UsageError("train: no settings file; try portraitlib train --example > settings.toml")
    else:
        asked = command.read_training_file(chosen.settings)
        asked = command.changed(asked, chosen.model, chosen.photos, chosen.out)
        command.train_from_file(asked, _say)


def _free_name(folder: Path, prompt: str, seed: int) -> Path:
    """A file name from the prompt and the seed that does not replace an earlier picture."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:40].strip("-") or "portrait"
    path, number = folder / f"{words}-{seed}.png", 2
    while path.exists():
        path, number = folder / f"{words}-{seed}-{number}.png", number + 1
    return path


def _demo(chosen: argparse.Namespace) -> None:
    demo(chosen.output, say=_say)


def _batch(chosen: argparse.Namespace) -> None:
    """Run, and say what came of it; what failed or was not run makes the exit code."""
    parameters: dict[str, str] = {}
    vary: dict[str, str] = {}
    for name, value in chosen.parameter:
        if name in parameters:
            raise UsageError(f"-p {name}: given twice; to run both, try --vary {name}=A,B")
        parameters[name] = value
    models = [f"model_name={chosen.model}"] if chosen.model else []
    for name, values in map(split_name, [*models, *chosen.vary]):
        if name in vary:
            raise UsageError(f"--vary {name}: given twice; try one list of all values")
        vary[name] = values
    done = run_batch(
        _expand(chosen.notebooks),
        parameters,
        vary=vary,
        output=chosen.out,
        engine=chosen.engine,
        jobs=chosen.jobs,
        gpus=chosen.gpus,
        budget=None if chosen.budget is None else Budget(dollars=chosen.budget),
        device=chosen.device,
        say=_say,
    )
    _say(f"{done}\nopen {done.folder / 'index.html'}")
    if done.failed:
        raise NotebookFailed(f"{len(done.failed)} of {len(done.runs)} runs failed")
    if done.missing:
        raise BudgetSpent(f"the budget is spent; {len(done.missing)} runs are left for another")


def _expand(names: Sequence[str]) -> list[str]:
    """Notebooks by their names; patterns too, which some shells hand over as they are."""
    expanded: list[str] = []
    for name in names:
        pattern = any(mark in name for mark in "*?[") and not Path(name).exists()
        names_there = sorted(glob.glob(name)) if pattern else [name]
        if not names_there:
            raise UsageError(f"{name}: no notebook is called so; try notebooks/0*.ipynb")
        expanded += names_there
    return expanded


def _say(line: str) -> None:
    print(line, flush=True)


# --- what can be said ----------------------------------------------------------------------------

Argument = tuple[str, Any, str, dict[str, Any]]  # flags, how its value is called, help, and more
NUMBER, FRACTION, SWITCH = {"type": int}, {"type": float}, {"action": "store_true"}
MANY: dict[str, Any] = {"action": "append", "default": []}
SHOWN = " (%(default)s)"
GENERATE: tuple[Argument, ...] = (
    ("prompt", None, "what the picture shows", {}),
    ("--model", "NAME", "mini, sdxl, a hub id or a folder", {}),
    ("--seed", "N", "picks the noise" + SHOWN, {"default": 0, **NUMBER}),
    ("--num-images", "N", "how many" + SHOWN, {"default": 1, **NUMBER}),
    ("--steps", "N", "denoising steps", NUMBER),
    ("--guidance-scale", "X", "how hard the prompt pulls", FRACTION),
    ("--size-px", "N", "width and height, pixels", NUMBER),
    ("--negative-prompt", "TEXT", "what to keep out", {"default": ""}),
    ("--speed", "NAME", "hyper8: sdxl in 8 steps", {}),
    ("--output", "FOLDER", "where the pictures go" + SHOWN, {"default": "runs/portraits"}),
)
PHOTOS: tuple[Argument, ...] = (
    ("folder", "FOLDER", "photos of one person", {}),
    ("--size-px", "N", "side of the crops" + SHOWN, {"default": 1024, **NUMBER}),
    ("--identifier", "WORD", "stands for the person" + SHOWN, {"default": "jrdnpl"}),
    ("--output", "FILE", "the sheet" + SHOWN, {"default": "runs/photos.png"}),
)
PORTRAIT: tuple[Argument, ...] = (
    ("folder", "FOLDER", "photos of one person, ten or so; the example's if none", {"nargs": "?"}),
    ("--model", "NAME", "mini, sdxl, a hub id or a folder", {}),
    ("--who", "WORD", "man, woman, boy, girl" + SHOWN, {"default": "man"}),
    ("--style", "STYLE", "a style's name or words of one's own; again for more", MANY),
    ("--keep", "N", "portraits to choose from, of each style" + SHOWN, {"default": 3, **NUMBER}),
    ("--quick", None, "no training: one photo beside the words", SWITCH),
    ("--adapter", "FILE", "a face that was taught before", {}),
    ("--minutes", "X", "stop after so long, with what there is", FRACTION),
    ("--budget", "DOLLARS", "stop when it has cost so much, with what there is", FRACTION),
    ("--seed", "N", "of the first portrait" + SHOWN, {"default": 0, **NUMBER}),
    ("--again", "PNG", "draw one that pleased once more, with another --seed", {}),
    ("--output", "FOLDER", "where it goes" + SHOWN, {"default": "runs/portrait"}),
)
TRAIN: tuple[Argument, ...] = (
    ("settings", "FILE", "TOML; see --example", {"nargs": "?"}),
    ("--model", "NAME", "in place of the file's model", {}),
    ("--photos", "FOLDER", "in place of the file's photos", {}),
    ("--out", "FOLDER", "in place of the file's out", {}),
    ("--example", None, "print a settings file, explained", SWITCH),
    ("--plan", "PLAN", "write a settings file for all of SDXL's weights, a big GPU", {}),
)
BATCH: tuple[Argument, ...] = (
    ("notebooks", "NOTEBOOK", "such as notebooks/0*.ipynb", {"nargs": "+"}),
    ("-p --parameter", ("NAME", "VALUE"), "a parameter for all runs", {"nargs": 2, **MANY}),
    ("--vary", "NAME=A,B,C", "values to try; given twice, every combination is run", MANY),
    ("--model", "NAME[,NAME]", "the same as model_name", {}),
    ("--out --output", "FOLDER", "where the runs go" + SHOWN, {"default": "runs/batch"}),
    ("--engine", "NAME", "local or ray" + SHOWN, {"default": "local"}),
    ("--jobs", "N", "runs at a time (1; ray: what fits)", NUMBER),
    ("--gpus", "X", "ray: GPUs a run (1 if any)", FRACTION),
    ("--budget", "DOLLARS", "start no run that would cost more in all", FRACTION),
    ("--device", "NAME", "whose hourly rate counts, such as t4, l4, a100, cpu", {}),
)
DEMO: tuple[Argument, ...] = (
    ("--output", "FOLDER", "where it goes" + SHOWN, {"default": "runs/demo"}),
)
TRAIN_CODES = """\
A training that is stopped goes on by the same command.
Exit code: 0 done, 2 a mistake, 3 the budget is spent, 130 stopped."""
PORTRAIT_CODES = """\
The same command again goes on where it was stopped, and draws nothing twice.
Exit code: 0 done, 2 a mistake, 3 the budget is spent, 130 stopped."""
# Command -> what runs it, what it is for, what its help ends with, its arguments.
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str, str, tuple[Argument, ...]]] = {
    "portrait": (_portrait, "from photos to the file you upload", PORTRAIT_CODES, PORTRAIT),
    "generate": (_generate, "draw portraits of a description", "", GENERATE),
    "photos": (_photos, "check a folder of photos, draw a contact sheet", "", PHOTOS),
    "train": (_train, "teach the model a face, by a settings file", TRAIN_CODES, TRAIN),
    "demo": (_demo, "run the notebooks with small settings, make a page of them", "", DEMO),
    "batch": (_batch, "run notebooks with many parameters, here or on a cluster", CLUSTER, BATCH),
}


if __name__ == "__main__":
    sys.exit(main())
