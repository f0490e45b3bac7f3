"""What a lesson looks like, as rules over its notebook; each says where it is broken and what to do.

    for rule in RULES:
        for complaint in rule(Lesson.load(path)):      # "cell 7 (cell-08): 31 lines of code; at most 25: ..."
            ...
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.house.repository import source
from tests.paths import REPO

MAX_LINES, MEDIAN_LINES = 25, (2, 10)              # of a code cell: it fits on a screen, beside its text
WORDS_PER_LINE = 3
MAX_WORDS, MEDIAN_WORDS = 90, 60                   # of a cell of prose
CODE_CELLS_IN_A_ROW = 3
EXERCISES = 4
TOUR = "00"                                        # shows all and asks little: sim only, three exercises
EXERCISE = re.compile(r"^#+ Exercise (?P<lesson>\d+)\.(?P<number>\d+) \((?P<minutes>\d+) min\): \S", re.MULTILINE)
ROWS = {"Time": (r"^(?!.*\b(?:TIME|MINUTES)\b)(?=.*\d+ (?:to \d+ )?min)", "how many minutes it takes, measured"),
        "You need": (r"(?i)(?=.*\b(?:arm|so-101)\b)(?=.*camera)(?=.*gpu)(?=.*network)", "arm? camera? GPU? network?"),
        "Lane": (r"`sim`", "what each lane means here")}


@dataclass(frozen=True)
class Lesson:
    """A notebook as the rules see it."""

    path: Path
    text: str

    @classmethod
    def load(cls, path: Path) -> Lesson:
        return cls(path, path.read_text(encoding="utf-8"))

    @property
    def number(self) -> str:
        return self.path.name[:2]

    @property
    def cells(self) -> list[dict]:
        return json.loads(self.text)["cells"]

    def of_kind(self, kind: str) -> list[tuple[int, str]]:
        """Number and text of the "code" or "markdown" cells."""
        return [(n, source(cell)) for n, cell in enumerate(self.cells) if cell["cell_type"] == kind]

    def at(self, number: int) -> str:
        return f"cell {number} ({self.cells[number].get('id', 'no id')})"

    def exercises(self) -> Iterator[tuple[int, re.Match, list[tuple[int, str]]]]:
        """Cell number, heading, and the code cells up to the next heading."""
        for number, text in self.of_kind("markdown"):
            if heading := EXERCISE.search(text):
                ends = [n for n, later in self.of_kind("markdown") if n > number and re.search(r"^#+ ", later, re.M)]
                end = min(ends, default=len(self.cells))
                yield number, heading, [(n, code) for n, code in self.of_kind("code") if number < n < end]


Rule = Callable[[Lesson], Iterator[str]]


def words(text: str) -> int:
    """Of prose: what a person reads; code blocks, tables, drawings and headings left out."""
    plain = re.sub(r"```[\s\S]*?```|^(?:    |\||#).*$", "", text, flags=re.MULTILINE)
    return len(re.findall(r"\w[\w'’-]*", plain))


def lines(code: str) -> int:
    return len([line for line in code.splitlines() if line.strip()])


def parsed(code: str) -> ast.Module:
    """A code cell without what only IPython understands."""
    return ast.parse(re.sub(r"^\s*[%!?].*$", "pass", code, flags=re.MULTILINE))


def calls(code: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call with what is called: `show`, `plt.show`."""
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def is_framed(lesson: Lesson) -> Iterator[str]:
    """The first cells say what for, how long, with what, in which lane and which versions."""
    frame = lesson.of_kind("markdown")[0][1]
    goal = re.search(r"\*\*Goal\.?\*\*\s*(.+)", frame)
    if not re.match(rf"# {lesson.number} · \S", frame):
        yield f"{lesson.at(0)}: begin with the title, `# {lesson.number} · Title`"
    if not goal or len(re.findall(r"[.!?](?:\s|$)", goal[1].strip())) != 1:
        yield f"{lesson.at(0)}: the goal in one sentence, `**Goal.** ...`"
    for row, (pattern, meaning) in ROWS.items():
        found = re.search(rf"\| \*\*{row}\*\* \|(.+)\|", frame)
        if not found or not re.search(pattern, found[1]):
            yield f"{lesson.at(0)}: a row `| **{row}** | ... |` that says {meaning}"
    code = lesson.of_kind("code")[0][1]
    if "__version__" not in code:
        yield f"{lesson.at(1)}: the first code cell prints the versions"
    if not re.search(r'^LANE = ("sim"|lane\("sim"\))', code, re.MULTILINE):
        yield f'{lesson.at(1)}: the first code cell has the lane switch, `LANE = lane("sim")`'
    if lesson.number != TOUR and not all(f"`{lane}`" in frame for lane in ("sim", "recorded", "real")):
        yield f"{lesson.at(0)}: the row Lane says what `sim`, `recorded` and `real` do in this lesson"


def has_small_cells(lesson: Lesson) -> Iterator[str]:
    """Code in spoonfuls."""
    code = lesson.of_kind("code")
    for number, text in code:
        if lines(text) > MAX_LINES:
            yield (f"{lesson.at(number)}: {lines(text)} lines of code; at most {MAX_LINES}: "
                   "divide it, or move plumbing to smolkit/lessons")
    if not MEDIAN_LINES[0] <= median(lines(text) for _, text in code) <= MEDIAN_LINES[1]:
        yield f"the median code cell has {median(lines(text) for _, text in code)} lines; 2 to 10 read best"


def explains_more_than_it_codes(lesson: Lesson) -> Iterator[str]:
    told = sum(words(text) for _, text in lesson.of_kind("markdown"))
    coded = sum(lines(text) for _, text in lesson.of_kind("code"))
    if told < WORDS_PER_LINE * coded:
        yield f"{told} words for {coded} lines of code; at least {WORDS_PER_LINE} words a line: move code away"


def has_short_texts(lesson: Lesson) -> Iterator[str]:
    """A text is read before the next cell is run, or not at all."""
    body = [(number, words(text)) for number, text in lesson.of_kind("markdown")[1:] if "can do now" not in text]
    for number, count in body:
        if count > MAX_WORDS:
            yield f"{lesson.at(number)}: {count} words; at most {MAX_WORDS}: put a figure or code between"
    if body and median(count for _, count in body) > MEDIAN_WORDS:
        yield f"the median text has {median(count for _, count in body)} words; at most {MEDIAN_WORDS}"


def alternates(lesson: Lesson) -> Iterator[str]:
    """Text and code take turns: an output that nobody reads aloud is not understood."""
    row = 0
    for number, cell in enumerate(lesson.cells):
        row = row + 1 if cell["cell_type"] == "code" else 0
        if row > CODE_CELLS_IN_A_ROW:
            yield f"{lesson.at(number)}: {row} code cells in a row; say in a sentence what the output means"


def numbers_exercises(lesson: Lesson) -> Iterator[str]:
    """1.1, 1.2, 1.3...: a teacher names an exercise by its number."""
    numbers = []
    for number, text in lesson.of_kind("markdown"):
        if re.search(r"^#+ .*exercise", text, re.IGNORECASE | re.MULTILINE) and not EXERCISE.search(text):
            yield f"{lesson.at(number)}: head an exercise so: `### Exercise {int(lesson.number)}.N (5 min): title`"
    for _, heading, _ in lesson.exercises():
        numbers.append(f"{heading['lesson']}.{heading['number']}")
    if numbers != (right := [f"{int(lesson.number)}.{i + 1}" for i in range(len(numbers))]):
        yield f"the exercises are numbered {', '.join(numbers)}; they should be {', '.join(right)}"
    if lesson.number != TOUR and len(numbers) < EXERCISES:
        yield f"{len(numbers)} exercises; at least {EXERCISES}: a prediction, code, a hunt for a fault, your own file"


def stubs(code: str) -> list[ast.stmt]:
    """What a learner fills in: functions that return None, and names or dictionaries of None."""
    return [node for node in parsed(code).body
            if isinstance(node, ast.FunctionDef) and _is_none(node.body[-1])
            or isinstance(node, ast.Assign | ast.AnnAssign) and _holds_none(node.value)]


def _is_none(node: ast.stmt) -> bool:
    return isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and node.value.value is None


def _holds_none(value: ast.expr | None) -> bool:
    parts = value.values if isinstance(value, ast.Dict) else [value]
    return any(isinstance(part, ast.Constant) and part.value is None for part in parts)


def has_stubs_and_checks(lesson: Lesson) -> Iterator[str]:
    """Each exercise: a stub that returns None, and one line that checks it."""
    for number, heading, code in lesson.exercises():
        name = f"{lesson.at(number)}: exercise {heading['lesson']}.{heading['number']}"
        found = [stub for _, text in code for stub in stubs(text)]
        if not found:
            yield f"{name} has no stub: a typed function that returns None, or `name = None`"
        for stub in found:
            if isinstance(stub, ast.FunctionDef) and not _is_typed(stub):
                yield f"{name}: `{stub.name}` needs types, `-> ... | None`, and a docstring with an example"
        checks = [text for _, text in code for line in text.splitlines() if re.match(r"print\(.*check\w*\(.*\)$", line)]
        if not checks:
            yield f"{name} has no check: one line, `print(exercises.check_...(...))`"


def _is_typed(stub: ast.FunctionDef) -> bool:
    example = re.search(rf"(?i)example|>>>|{stub.name}\(", ast.get_docstring(stub) or "")
    types = all(argument.annotation for argument in stub.args.args) and stub.returns
    return bool(example and types and "None" in ast.unparse(stub.returns))


def describes_pictures(lesson: Lesson) -> Iterator[str]:
    """Every figure says in words what it shows; `smolkit.plotting.show` writes them where screen readers look."""
    for number, code in lesson.of_kind("code"):
        for name, call in calls(code):
            keywords = {word.arg for word in call.keywords}
            drawn = any(isinstance(argument, ast.Starred) for argument in call.args)       # a `Drawing` has its words
            if name == "show" and len(call.args) < 2 and not drawn and "alt" not in keywords:
                yield f"{lesson.at(number)}: show(figure, \"what one sees\"): the words are missing"
            if name.startswith(("plt.", "ax.")) or name == "Image" and "alt" not in keywords:
                yield f"{lesson.at(number)}: `{name}` shows a picture without words: use smolkit.plotting.show"
            if name == "Video" and "aria-label" not in code:
                yield f"{lesson.at(number)}: a film needs html_attributes with an aria-label"


def ends_well(lesson: Lesson) -> Iterator[str]:
    """What you can do now, three questions, what to hand in."""
    end = "\n".join(text for _, text in lesson.of_kind("markdown")[-3:])
    if "## What you can do now" not in end:
        yield "the end lacks `## What you can do now`"
    after = end.partition("Three questions")[2]
    if re.findall(r"^(\d)\. ", after, re.MULTILINE) != ["1", "2", "3"]:
        yield "the end lacks **Three questions**, numbered 1. 2. 3."
    if not re.search(r"\*\*Hand in|## Hand in", end):
        yield "the end lacks **Hand in**: which file, and one sentence about what"


def is_stripped(lesson: Lesson) -> Iterator[str]:
    """No outputs, no counts, ids of its own: what changes in git is what somebody wrote."""
    written = json.dumps(json.loads(lesson.text), indent=1, ensure_ascii=False, sort_keys=True)
    if written != lesson.text.rstrip("\n"):
        yield "not written as nbformat writes it: nbformat.write(nbformat.read(path, 4), path)"
    ids = [cell.get("id") for cell in lesson.cells]
    for number, cell in enumerate(lesson.cells):
        if not cell.get("id") or ids.count(cell["id"]) > 1:
            yield f"cell {number}: needs an id that no other cell has, not {cell.get('id')!r}"
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"{lesson.at(number)}: holds outputs; in JupyterLab: Edit > Clear Outputs of All Cells, then save"


def needs_no_terminal(lesson: Lesson) -> Iterator[str]:
    """Nothing asks and nothing shells out: it must run untouched, on every system."""
    for number, code in lesson.of_kind("code"):
        if found := re.search(r"(?<![\w.])input\(|^\s*!\S*|^%%(?:bash|sh)\b", code, re.MULTILINE):
            yield f"{lesson.at(number)}: `{found[0].strip()}` needs a person or a shell: use a widget or a function"


def has_solutions(lesson: Lesson, folder: Path = REPO / "course" / "solutions") -> Iterator[str]:
    """course/solutions/<name>_NN.py defines every name that the stubs leave open."""
    files = list(folder.glob(f"*_{lesson.number}.py"))
    if len(files) != 1:
        yield f"{len(files)} solutions in {folder.name}/*_{lesson.number}.py; there should be one"
        return
    body = ast.parse(files[0].read_text(encoding="utf-8")).body
    solved = {name for node in body for name in defined(node)}
    for number, heading, code in lesson.exercises():
        open_names = {name for _, text in code for stub in stubs(text) for name in defined(stub)}
        if missing := open_names - solved:
            yield (f"{lesson.at(number)}: {files[0].name} does not define {', '.join(sorted(missing))} "
                   f"of exercise {heading['lesson']}.{heading['number']}")


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement at the top gives a meaning."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


RULES: tuple[Rule, ...] = (
    is_framed, has_small_cells, explains_more_than_it_codes, has_short_texts, alternates, numbers_exercises,
    has_stubs_and_checks, describes_pictures, ends_well, is_stripped, needs_no_terminal, has_solutions)
