"""The `portraitlib` command. A mistake of the user is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import glob
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import portraitlib as pl
from portraitlib.settings import UsageError

CLUSTER = """\
Everything is checked before anything runs. The same command again runs only what is missing or
failed. Exit code: 0 all done, 1 a run failed, 2 a mistake, 3 the budget is spent, 130 stopped.

A cluster in five lines. On the first machine, on each other one, and again on the first:

  pip install 'portraitlib[notebooks,photos,ray]'       (on all of them)
  ray start --head
  ray start --address=FIRST:6379
  portraitlib batch notebooks/0*.ipynb --vary seed=0,1,2,3 --engine ray --out runs/seeds
  ray stop                                              (on all of them)

Photos that a parameter names have to lie at the same path on each machine.
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
    except RuntimeError as problem:
        from portraitlib.batch.execute import NotebookFailed
        from portraitlib.cost import BudgetSpent

        if isinstance(problem, BudgetSpent):
            return _complain(str(problem), 3)
        if not isinstance(problem, NotebookFailed):
            raise
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

    _add_generate(commands)
    _add_photos(commands)
    _add_train(commands)

    demo = commands.add_parser("demo", help="run the notebooks with small settings, make a gallery")
    demo.set_defaults(run=_demo)
    demo.add_argument("--output", default="runs/demo", metavar="FOLDER", help="(%(default)s)")

    _add_batch(commands)

    notebooks = commands.add_parser("notebooks", help="re-execute notebooks, store their outputs")
    notebooks.set_defaults(run=_notebooks)
    notebooks.add_argument("names", nargs="*", metavar="NAME", help="which; none for all")
    notebooks.add_argument("--force", action="store_true", help="even where nothing changed")

    bench = commands.add_parser("bench", help="measure how long pictures take here")
    bench.set_defaults(run=_bench)
    bench.add_argument("--model", default="mini", metavar="NAME", help="(%(default)s)")
    bench.add_argument("--output", default="runs/bench.json", metavar="FILE", help="(%(default)s)")
    return parser


def _add_generate(commands: Any) -> None:
    generate = commands.add_parser("generate", help="draw portraits of a description")
    generate.set_defaults(run=_generate)
    generate.add_argument("prompt", help="what the picture shows")
    generate.add_argument("--model", metavar="NAME", help="mini, sdxl, a hub id or a folder")
    generate.add_argument("--seed", type=int, default=0, metavar="N", help="picks the noise (0)")
    generate.add_argument("--num-images", type=int, default=1, metavar="N", help="how many (1)")
    generate.add_argument("--steps", type=int, metavar="N", help="denoising steps")
    generate.add_argument(
        "--guidance-scale", type=float, metavar="X", help="how hard the prompt pulls"
    )
    generate.add_argument("--size-px", type=int, metavar="N", help="width and height, pixels")
    generate.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to keep out")
    generate.add_argument(
        "--output", default="runs/portraits", metavar="FOLDER", help="(%(default)s)"
    )


def _add_photos(commands: Any) -> None:
    photos = commands.add_parser("photos", help="check a folder of photos, draw a contact sheet")
    photos.set_defaults(run=_photos)
    photos.add_argument("folder", metavar="FOLDER", help="photos of one person")
    photos.add_argument(
        "--size-px", type=int, default=1024, metavar="N", help="side of the crops (%(default)s)"
    )
    photos.add_argument(
        "--identifier", default="jrdnpl", metavar="WORD", help="stands for the person (%(default)s)"
    )
    photos.add_argument(
        "--output", default="runs/photos.png", metavar="FILE", help="the sheet (%(default)s)"
    )


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="teach the model a face, by a settings file",
        epilog="A training that is stopped goes on by the same command. Exit code: 0 done, "
        "2 a mistake, 3 the budget is spent, 130 stopped.",
    )
    train.set_defaults(run=_train)
    train.add_argument("settings", nargs="?", metavar="FILE", help="TOML; see --example")
    train.add_argument("--model", metavar="NAME", help="in place of the file's model")
    train.add_argument("--photos", metavar="FOLDER", help="in place of the file's photos")
    train.add_argument("--out", metavar="FOLDER", help="in place of the file's out")
    train.add_argument("--example", action="store_true", help="print a settings file, explained")
    train.add_argument(
        "--plan", metavar="PLAN", help="write a settings file for all of SDXL's weights, a big GPU"
    )


def _add_batch(commands: Any) -> None:
    batch = commands.add_parser(
        "batch",
        help="run notebooks with many parameters, here or on a cluster",
        epilog=CLUSTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    batch.set_defaults(run=_batch)
    batch.add_argument(
        "notebooks", nargs="+", metavar="NOTEBOOK", help="such as notebooks/0*.ipynb"
    )
    batch.add_argument(
        *("-p", "--parameter"),
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter for all runs",
    )
    batch.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=A,B,C",
        help="a parameter with several values; given twice, every combination is run",
    )
    batch.add_argument("--model", metavar="NAME[,NAME]", help="the same as model_name")
    batch.add_argument(
        "--out", "--output", default="runs/batch", metavar="FOLDER", help="(%(default)s)"
    )
    batch.add_argument("--engine", default="local", metavar="NAME", help="local or ray (local)")
    batch.add_argument("--jobs", type=int, metavar="N", help="runs at a time (1; ray: what fits)")
    batch.add_argument("--gpus", type=float, metavar="X", help="ray: GPUs a run (1 if any)")
    batch.add_argument(
        "--budget", type=float, metavar="DOLLARS", help="start no run that would cost more in all"
    )
    batch.add_argument(
        "--device", metavar="NAME", help="whose hourly rate counts, such as t4, l4, a100, cpu"
    )


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
    )
    from portraitlib.portrait import check_writable

    folder = Path(chosen.output).expanduser().absolute()
    check_writable(folder)
    model = pl.load_model(chosen.model)
    print(model, file=sys.stderr)
    for portrait in pl.text_to_image(model, chosen.prompt, sampling):
        print(portrait.save(_free_name(folder, chosen.prompt, portrait.recipe.get("seed", 0))))


def _photos(chosen: argparse.Namespace) -> None:
    """Read, report, write the sheet, print its path."""
    from portraitlib.portrait import check_writable, write_whole

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
    from portraitlib.training.command import changed, train_from_file, write_plan
    from portraitlib.training.file import example_file, read_training_file

    if chosen.example:
        print(example_file(model=chosen.model), end="")
    elif chosen.plan:
        print(write_plan(chosen.plan, chosen.settings))
    elif chosen.settings is None:
        raise UsageError("train: no settings file; try portraitlib train --example > settings.toml")
    else:
        asked = read_training_file(chosen.settings)
        train_from_file(changed(asked, chosen.model, chosen.photos, chosen.out), _say)


def _free_name(folder: Path, prompt: str, seed: int) -> Path:
    """A file name from the prompt and the seed that does not replace an earlier picture."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:40].strip("-") or "portrait"
    path, number = folder / f"{words}-{seed}.png", 2
    while path.exists():
        path, number = folder / f"{words}-{seed}-{number}.png", number + 1
    return path


def _demo(chosen: argparse.Namespace) -> None:
    from portraitlib.batch.series import demo

    demo(chosen.output, say=_say)


def _batch(chosen: argparse.Namespace) -> None:
    """Run, and say what came of it; what failed or was not run makes the exit code."""
    from portraitlib.batch.plan import split_name
    from portraitlib.batch.series import NotebookFailed, run_batch
    from portraitlib.cost import Budget, BudgetSpent

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
        found = sorted(glob.glob(name)) if pattern else [name]
        if not found:
            raise UsageError(f"{name}: no notebook is called so; try notebooks/0*.ipynb")
        expanded += found
    return expanded


def _notebooks(chosen: argparse.Namespace) -> None:
    from portraitlib.batch.series import refresh_notebooks

    refresh_notebooks(chosen.names, force=chosen.force, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _bench(chosen: argparse.Namespace) -> None:
    from portraitlib.batch.bench import time_model

    time_model(chosen.model, Path(chosen.output).expanduser(), _say)


if __name__ == "__main__":
    sys.exit(main())
