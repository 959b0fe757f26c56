"""What the model card says: the figures of the embedded model as tables and sentences."""

from __future__ import annotations

from typing import Any

from portraitlib.mini.visible import HIDDEN
from portraitlib.mini.words import STYLES

SHEET_SEED = 100
SHEET = (
    "portrait of a man, photorealistic",
    "indian boy with curly hair, jawline, trimmed beard, smiling, dimples, pimple on cheek, "
    "in a forest, pixel art, colorful, vibrant, cheerful",
    "smiling man, comic book style",
    "portrait of jrdnpl man, 20 year old man, wearing sweatshirt, bubblegum background, punk",
    "portrait of an old woman, glasses, in a city, oil painting, dramatic",
    "girl, long hair, red hair, on a beach, anime style",
)
STAGES = ("autoencoder", "text", "denoiser", "judge", "controlnet")
# What is asked of the model: (now, in the end), and how it is said.
GOALS = {
    "psnr": (27.0, 30.0, "autoencoder, held-out drawn portraits, PSNR", "{:.1f} dB"),
    "psnr_worst": (25.0, 28.0, "the same, worst style", "{:.1f} dB"),
    "coherence": (0.90, 0.99, "coherence", "{:.1%}"),
    "obedience": (0.85, 0.95, "obedience, over all attributes and styles", "{:.1%}"),
    "obedience_worst": (0.70, 0.85, "the same, worst attribute or style", "{:.1%}"),
    "variety": (0.60, 0.80, "variety", "{:.2f}"),
}
WEIGHTS_MB = 40.0


def reached(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that the `GOALS` are about."""
    psnr = figures.get("autoencoder_psnr_db", {})
    found = {
        "coherence": figures["coherence"]["share"],
        "obedience": figures["obedience"]["all"]["share"],
        "obedience_worst": figures["obedience"]["worst"]["share"],
        "variety": figures["variety"]["mean"],
    }
    if psnr:
        found |= {"psnr": psnr["all"], "psnr_worst": min(psnr[style] for style in STYLES)}
    return found


def _percent(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    low, high = row["interval"]
    return f"{row['share']:.0%} ({low:.0%} to {high:.0%}, {row['count']})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def goals_table(figures: dict[str, Any]) -> str:
    """What was measured beside what is wanted."""
    found, rows = reached(figures), []
    intervals = {
        "coherence": figures["coherence"]["interval"],
        "obedience": figures["obedience"]["all"]["interval"],
        "obedience_worst": figures["obedience"]["worst"]["interval"],
        "variety": figures["variety"]["interval"],
    }
    for key, (now, later, what, form) in GOALS.items():
        if key not in found:
            continue
        low_high = ""
        if key in intervals:
            low_high = " to ".join(form.format(end) for end in intervals[key])
        if key == "obedience_worst":
            what += f" ({figures['obedience']['worst']['what']})"
        rows.append([what, form.format(found[key]), low_high, f"≥ {form.format(now)}"])
        rows[-1].append(f"≥ {form.format(later)}")
    size = [f"≤ {WEIGHTS_MB:.0f} MB"] * 2
    rows.append(["all weights", f"{figures['weights_mb']:.1f} MB", "", *size])
    rows.append(["picture", f"{figures['size_px']} px", "", "≥ 96 px", "≥ 128 px"])
    return _table(["what", "measured", "95 % interval", "asked now", "asked in the end"], rows)


def obedience_table(figures: dict[str, Any]) -> str:
    """Every value of every group: generated pictures, and drawn ones for comparison."""
    made, drawn = figures["obedience"], figures["obedience_drawn"]
    rows = []
    for group, values in made["values"].items():
        rows.append([f"**{group}**", _percent(made["groups"][group]), ""])
        rows[-1][2] = _percent(drawn["groups"].get(group))
        for value, row in values.items():
            beside = drawn["values"].get(group, {}).get(value)
            rows.append([value, _percent(row), _percent(beside)])
    return _table(["attribute", "generated", "drawn"], rows)


def styles_table(figures: dict[str, Any]) -> str:
    """Each style: how often what is asked of pictures in it is seen."""
    made, drawn = figures["obedience"]["styles"], figures["obedience_drawn"]["styles"]
    rows = [[style, _percent(row), _percent(drawn.get(style))] for style, row in made.items()]
    return _table(["style", "generated", "drawn"], rows)


def judge_text(notes: dict[str, Any]) -> str:
    """How well the judge itself reads drawn portraits."""
    exam = notes["exam"]
    attributes, r2 = exam["attributes"], exam["people_r2"][STYLES[0]]
    weakest = sorted(
        (share, f"{group}: {value}")
        for group, values in attributes["values"].items()
        for value, share in values.items()
    )[:4]
    said = ", ".join(f"{what} {share:.1%}" for share, what in weakest)
    refused = ", ".join(f"{way} {share:.0%}" for way, share in exam["broken_refused"].items())
    hidden = "\n".join(
        f"- {rule.group}, where "
        + " and ".join(f"{g} is {' or '.join(v)}" for g, v in rule.where.items())
        + f": {rule.why}"
        for rule in HIDDEN
        if "mona_lisa" not in rule.where
    )
    numbers = ", ".join(f"{name} {value:.2f}" for name, value in r2.items())
    return f"""\
On {exam["portraits"]} held-out drawn portraits it names {attributes["mean"]:.1%} of the attributes
(mean over groups; by style {", ".join(f"{s} {v:.1%}" for s, v in attributes["styles"].items())};
weakest values: {said}). {exam["coherent"]:.1%} of them count as coherent; of drawn portraits that
were broken on purpose it refuses: {refused}.

It reads a person's numbers from a photorealistic portrait with these R²: {numbers}. Those
from 0.5 on enter *variety*.

Not asked, because no picture can show it:

{hidden}
- all but the composition in Mona Lisa."""


def likeness_table(exam: dict[str, Any]) -> str:
    """How often one person's two shots lie nearer than those of two people."""
    rows = []
    for style, row in exam.items():
        low, high = row["interval"]
        asked = {STYLES[0]: "≥ .99", "anime": "as it falls"}.get(style, "≥ .95")
        measured = [f"{row['auc']:.3f}", f"{low:.3f} to {high:.3f}", asked]
        rows.append([style, *measured, f"{row['auc_same_words']:.3f}"])
    head = ["against a photorealistic shot", "AUC", "95 % interval", "asked", "same words"]
    return _table(head, rows)


def _mean(row: dict[str, Any], form: str = "{:.2f}") -> str:
    """A mean and its interval: ".57 (.56 to .59)"."""
    if row["mean"] is None:
        return ""
    mean, low, high = (form.format(n) for n in (row["mean"], *row["interval"]))
    return f"{mean} ({low} to {high})".replace("-0.00", "0.00")


def control_table(control: dict[str, Any]) -> str:
    """What edges do over all styles: at each scale, beside the world's own drawings."""
    edges, above, words = control["edges"], control["above_chance"], control["words"]
    arms = ("0", "0.7", "1", "drawn")
    near = {"edges kept within 2 px, F1": "2 px", "the same within 1 px": "1 px"}
    rows = [[what, *(_mean(edges[arm][px]["all"]) for arm in arms)] for what, px in near.items()]
    for px in near.values():
        found = [_mean(above[arm][px]["all"]) if arm in above else "0" for arm in arms]
        rows.append([f"above words alone, {px}", *found])
    said = [_mean(words[arm]["all"]["all"], "{:.1%}") for arm in arms]
    rows.append(["what no line says, seen", *said])
    for style in ("all", "comic book", "anime"):
        what = "likeness, all six styles" if style == "all" else f"likeness, {style}"
        rows.append([what, *(_mean(control["likeness"][arm][style]) for arm in arms)])
    return _table(["what", "words alone", "scale 0.7", "scale 1", "drawn"], rows)


def control_styles_table(control: dict[str, Any]) -> str:
    """The same by style, at the scales that something is asked of."""
    edges, likeness = control["edges"], control["likeness"]
    rows = [
        [
            style,
            *(_mean(edges[arm]["2 px"][style]) for arm in ("0", "1", "drawn")),
            _mean(control["words"]["0.7"]["all"][style], "{:.0%}"),
            *(_mean(likeness[arm][style]) for arm in ("0", "0.7")),
        ]
        for style in STYLES[1:]
    ]
    head = ["style", "edges, words alone", "edges, scale 1", "edges, drawn", "words seen, 0.7"]
    return _table([*head, "likeness, words alone", "likeness, 0.7"], rows)


def control_text(control: dict[str, Any]) -> str:
    """The section on edges."""
    free, held, drawn = (control["edges"][arm] for arm in ("0", "1", "drawn"))
    means = {px: [row[px]["all"]["mean"] for row in (free, held, drawn)] for px in ("2 px", "1 px")}
    way = {px: (got - least) / (most - least) for px, (least, got, most) in means.items()}
    times = {px: got / least for px, (least, got, _) in means.items()}
    return CONTROL_TEXT.format(
        people=control["people"], table=control_table(control), way_2=way["2 px"],
        way_1=way["1 px"], times_2=times["2 px"], times_1=times["1 px"],
        styles=control_styles_table(control),
        worst=min(held["2 px"][style]["mean"] for style in STYLES[1:]),
    )  # fmt: skip


def faces_text(faces: dict[str, Any]) -> str:
    """The section on learning a face."""
    by_words = max(person["by_words"]["likeness"] for person in faces["people"])
    return FACES_TEXT.format(**faces, count=len(faces["people"]), most_by_words=by_words)


def write_text(
    figures: dict[str, Any],
    training: dict[str, Any],
    judge: dict[str, Any],
    likeness: dict[str, Any],
    control: dict[str, Any],
    faces: dict[str, Any],
) -> str:
    """The whole card, in Markdown."""
    parts = training.get("parameters_million", {})
    sizes = ", ".join(f"{name} {count:.2f} M" for name, count in parts.items())
    steps = ", ".join(
        f"{stage} {training[stage]['steps']:,} steps" for stage in STAGES if stage in training
    )
    sheet = "\n".join(f"{i}. {prompt}" for i, prompt in enumerate(SHEET, 1))
    return TEXT.format(
        size_px=figures["size_px"], sizes=sizes, steps=steps,
        drawings=f"{training.get('drawings', 0):,}", sheet=sheet, goals=goals_table(figures),
        styles=styles_table(figures), obedience=obedience_table(figures),
        whole_count=figures["coherence"]["count"],
        asked_count=figures["obedience"]["pictures"],
        variety_count=figures["variety"]["count"],
        judge=judge_text(judge), likeness=likeness_table(likeness["exam"]),
        people=likeness["exam"][STYLES[0]]["people"],
        control=control_text(control), faces=faces_text(faces),
        seed=SHEET_SEED, last_seed=SHEET_SEED + 35,
    )  # fmt: skip


CONTROL_TEXT = """\
A ControlNet (`weights_controlnet`) reads canny edges beside the words. {people} people that nothing
was trained on: the edges of one photorealistic shot of each, in six styles. The words say who it
is, the style, and what no line says: skin, the colour of the hair, the mood. All else is left to
the edges. *Words alone* is scale 0, the same words and noise without the edges. *Drawn* is the
world's own drawing of the same person, shot and place in that style, to compare with.

{table}

- *Edges kept*: F1 of the picture's own canny edges against those asked for, each with another
  within 2 or 1 px of 96. *Above words alone*: (F1 - chance) / (1 - chance), where chance is the F1
  of words alone: any two portraits in the middle of a picture have that much in common. Three
  times as much as words alone was asked for, which would be more than 1: at scale 1 it is
  {times_2:.1f} times within 2 px and {times_1:.1f} times within 1 px. Of the way from words alone
  to the world's own drawings, whose edges are not those of a photograph either, that is
  {way_2:.0%} and {way_1:.0%}.
- *Seen*: the share of style, skin, hair colour and mood, where asked, that the judge sees.
- *Likeness*: 1 is another photo of the person, 0 a stranger of the same description; over the
  pictures in which a face is found.

{styles}

Asked for: .60 of the edges at scale 1 (worst style: {worst:.2f}); 85 % seen at scale 0.7; likeness
in comic book style at 0.7 above that of words alone, intervals apart. Intervals are 95 %, by
bootstrap over people. `python -m recipes.first_mini.control_figures` measures again and renews this
section; some minutes on two cores."""
FACES_TEXT = """\
{count} people that nothing was tried on, {trainings} trainings by default settings: 12 photos, 48
class images, 400 steps of 4 of each. "portrait of jrdnpl man", 16 seeds, is then {likeness:.2f} of
the way from strangers of the same description (0) to other photos of the person (1); the worst
training {least_likeness:.2f}. By words alone it is {by_words:.2f} ({most_by_words:.2f} at most). A
face is found in {faces:.0%} of the pictures; the others are not averaged. "portrait of a man"
drifts by {drift_with:.2f} spreads with class images and by {drift_without:.2f} without, where the
likeness is {likeness_without:.2f}. `python -m recipes.first_mini.face_figures` measures again and
renews this section; half an hour."""
TEXT = """\
# mini, the embedded model

A text-to-image model of Stable Diffusion XL's own classes at less than a 200th of its size, that
draws head-and-shoulders portraits of {size_px} px from words. It is there so that every experiment
of the notebooks runs, for real, on a laptop without a GPU or a network.

![Six prompts by six seeds](card/sheet.png)

Rows, with seeds {seed} to {last_seed}, none picked:

{sheet}

## What it is

`StableDiffusionXLPipeline.from_pretrained` reads its folder as it is. Parts:
{sizes}.
The scheduler is Euler with v-prediction, down to no signal at the first step. Every word of the
prompts in the notebooks is a token; any other text falls apart into letters, can be written, and
means nothing until it is taught.

## Data

{drawings} portraits, each drawn by `recipes.first_mini.world` from 22 numbers of a person, a look
in words, a shot and one of seven styles. No photograph and no picture by anybody else was used,
and nobody who exists is in them. Portraits and captions with seeds from 10,000,000 on were never
trained on; all figures below are of those.

## Training

{steps}. `python -m recipes.first_mini.recipe` does it again, from nothing or from these weights;
`python -m recipes.first_mini.judge` trains the judge, `python -m recipes.first_mini.controlnet` the
ControlNet.

![Loss of each stage](card/curves.png)

A jump up is where training went on with another loss or harder drawings (for the denoiser: errors
in the face count more since then); what stands before and after it cannot be compared.

What the autoencoder keeps: held-out drawn portraits, below each what comes back.

![Drawn portraits and their reconstructions](card/reconstructions.png)

## Figures

{goals}

- *Coherence*: the share of {whole_count} pictures, captions of the world, in which a landmark
  finder trained on drawn portraits finds two eyes, nose, mouth and the top of the head, each as
  clearly and where 999 of 1,000 drawn portraits have them.
- *Obedience*: of all that {asked_count} captions say and a picture can show, the share that the
  judge sees. The judge was trained on drawn portraits only. It names one value in each group, so
  guessing gets a half of a yes or no and a seventh of the styles.
- *Variety*: {variety_count} seeds of "portrait of a man"; the spread of each number of the
  person, as the judge reads it, over its spread in the world's own portraits for these words; the
  mean of the numbers that can be read.

Intervals are by bootstrap over pictures. Measured with 25 steps and the preset's guidance, fixed
captions and seeds: `python -m recipes.first_mini.judge --figures FOLDER` measures again.

### By style

Share of what is said that is seen (95 % interval, how often it was asked). *Drawn* is the same of
the world's own portraits for the same captions: what the judge can read at most.

{styles}

### By attribute

{obedience}

### The judge

{judge}

### Who is who

A second network (`weights_likeness`) turns a face into a point, so that shots of one person lie
near each other in whatever style: that is how the notebooks measure likeness. Of {people} people
that it has never seen, AUC: how often two shots of one person lie nearer than those of two people
(0.5 is chance). *Same words*: the same among people whom one description fits.

{likeness}

`python -m recipes.first_mini.likeness --figures` examines it again.

### Held by edges

{control}

### A face, learnt

{faces}

### A face, shown

An IP-Adapter (`weights_ip_adapter`, 1.4 M numbers, 2.9 MB on top of the above) reads what the
second network sees of a face before it becomes a point, as eight tokens beside the words. 2,500
people of the world in seven shots each taught it, the rest of the model unchanged, in 7,500 steps
of 24.
`python -m recipes.first_mini.ip_adapter` trains it, `python -m recipes.first_mini.person_figures`
measures it ([figures](../../docs/measured.md#one-photo-no-training)).

## Limits

It knows one composition (head and shoulders, from the front), seven styles, six places and the
words above, and nothing else: other words do nothing or something odd. Skin, age and sex are
coarse classes of a drawing program, not claims about people. Likeness, beauty and safety of a
large model's pictures cannot be judged from its own. Use it to learn and to test.

## Licence

MIT, weights and code alike.
"""
