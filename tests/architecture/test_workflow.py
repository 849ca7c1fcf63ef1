"""`./run workflow` on small workflows: what GitHub does with each key is done, and what cannot be done is said."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import node_tools
import pytest
import workflow
import workflow_lint
from workflow_expressions import Expressions, WorkflowError
from workflow_plan import combinations
from workflow_snapshot import git

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="workflows are checked with Node.js")
CHECKOUT = "{uses: actions/checkout@1}"
ALL = "{uses: actions/checkout@1, with: {fetch-depth: 0}}"
Runs = Callable[..., tuple[int, str]]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of three commits, the last on a branch, and a file that is not committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    for name in ("first", "second", "third"):
        if name == "third":
            git("checkout", "--quiet", "-b", "branch", cwd=folder)
        (folder / name).write_text(name, encoding="utf-8")
        git("add", "--all", cwd=folder)
        git("commit", "--quiet", "--message", name, cwd=folder)
    git("tag", "old", "main", cwd=folder)
    (folder / "fourth").write_text("fourth", encoding="utf-8")
    monkeypatch.setattr(workflow, "ROOT", folder)
    return folder


@pytest.fixture
def runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Runs:
    """Write a workflow and run it: the exit code, and all that was printed."""

    def run(text: str, *words: str) -> tuple[int, str]:
        (tmp_path / "small.yml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["workflow", str(tmp_path / "small.yml"), *words])
        code = workflow.main()
        return code, "".join(capfd.readouterr())

    return run


def one(*steps: str, job: str = "", top: str = "") -> str:
    """A workflow of one job with these steps."""
    lines = "\n".join(f"      - {each}" for each in steps)
    return f"on: [push, pull_request]\n{top}\njobs:\n  one:\n    runs-on: ubuntu-latest\n{job}\n    steps:\n{lines}\n"


def test_what_is_not_committed_is_checked_out_too(runs: Runs) -> None:
    code, text = runs(one(CHECKOUT, "run: cat first second third fourth"))
    assert (code, "firstsecondthirdfourth" in text) == (0, True)


@pytest.mark.parametrize(
    ("depth", "commits", "tags"), [("{fetch-depth: 0}", 4, "old"), ("{fetch-depth: 2}", 2, ""), ("{}", 1, "")]
)
def test_a_checkout_is_as_deep_as_it_says(runs: Runs, depth: str, commits: int, tags: str) -> None:
    """What needs more history than it asks for must fail here as it would there."""
    step = "run: echo =$(git rev-list --count HEAD)=$(git tag)="
    _, text = runs(one(f"{{uses: actions/checkout@1, with: {depth}}}", step))
    assert f"={commits}={tags}=" in text


def test_a_pull_request_has_no_branch_and_names_its_base(runs: Runs) -> None:
    step = 'run: echo "=$(git log -1 --format=%s "$BASE")=$(git for-each-ref refs/heads)=$REF="'
    job = "    env: {BASE: '${{ github.event.pull_request.base.sha }}', REF: '${{ github.ref }}'}"
    _, text = runs(one(ALL, step, job=job), "--event", "pull_request")
    assert "=second==refs/pull/1/merge=" in text


def test_a_push_is_one_to_main(runs: Runs) -> None:
    step = 'run: echo "=$(git log -1 --format=%s "$BASE")=$(git branch --show-current)=$GITHUB_REF_NAME="'
    _, text = runs(one(ALL, step, job="    env: {BASE: '${{ github.event.before }}'}"))
    assert "=second=main=main=" in text


def test_a_tag_is_made_in_the_copy_only(runs: Runs, repository: Path) -> None:
    step = 'run: echo "=$(git describe --tags --exact-match)=${{ github.ref_name }}="'
    _, text = runs(one(ALL, step), "--tag", "new-v1")
    assert "=new-v1=new-v1=" in text
    assert git("tag", cwd=repository) == "old"


def test_the_environment_is_that_of_a_runner(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for the project here, an environment that is active above all, helps nobody there."""
    monkeypatch.setenv("SEG_ANYTHING", "here")
    monkeypatch.setenv("UV_CONSTRAINT", "here")
    monkeypatch.setenv("VIRTUAL_ENV", "/environment")
    monkeypatch.setenv("PATH", "/environment/bin:" + workflow.os.environ["PATH"])
    _, text = runs(one('run: echo "=$SEG_ANYTHING=$UV_CONSTRAINT=$VIRTUAL_ENV=$CI="; echo "$PATH"'))
    assert "====true=" in text
    assert "/environment/bin" not in text


def test_variables_of_all_levels(runs: Runs) -> None:
    text = one(
        'run: echo "B=step" >> "$GITHUB_ENV"; echo "$RUNNER_TEMP" >> "$GITHUB_PATH"',
        'run: printf "#!/bin/bash\\necho tool" > "$RUNNER_TEMP/tool"; chmod +x "$RUNNER_TEMP/tool"',
        "{run: 'echo \"=$A=$B=$C=$D=${{ env.C }}=$(tool)=\"', env: {C: '${{ env.A }}!'}}",
        top="env: {A: top, B: top, C: top, D: true}",
        job="    env: {B: job}",
    )
    _, printed = runs(text, "--env", "A=asked", "--env", "D=")
    assert "=asked=step=top!==top!=tool=" in printed


def test_outputs_reach_the_jobs_that_need_them(runs: Runs) -> None:
    text = """
on: push
jobs:
  first:
    runs-on: ubuntu-latest
    outputs: {list: "${{ steps.set.outputs.list }}", text: "${{ steps.set.outputs.text }}"}
    steps:
      - id: set
        run: |
          echo 'list=["a", "b"]' >> "$GITHUB_OUTPUT"
          printf 'text<<END\\none\\ntwo\\nEND\\n' >> "$GITHUB_OUTPUT"
  second:
    needs: first
    runs-on: ubuntu-latest
    strategy: {matrix: {letter: "${{ fromJSON(needs.first.outputs.list) }}", number: [1, 2]}}
    steps:
      - run: 'echo "=${{ matrix.letter }}${{ matrix.number }}=$TEXT="'
        env: {TEXT: "${{ needs.first.outputs.text }}"}
"""
    code, printed = runs(text, "second")
    assert code == 0
    assert [letter in printed for letter in ("=a1=one\ntwo=", "=a2=", "=b1=", "=b2=")] == [True] * 4
    _, printed = runs(text, "second", "--matrix", "letter=b", "--matrix", "number=2")
    assert [letter in printed for letter in ("=a1=", "=a2=", "=b1=", "=b2=")] == [False, False, False, True]


def test_a_failure_ends_a_job_but_for_steps_that_ask(runs: Runs) -> None:
    pipes = ("run: 'false | true; echo goes on'", "{run: 'false | true; echo never', shell: bash}")
    code, text = runs(one(*pipes, "run: echo skipped", "{if: failure(), run: echo asked}"))
    assert code == 1
    printed = [word for word in ("goes on", "never", "skipped", "asked") if f"\n{word}\n" in text]
    assert printed == ["goes on", "asked"]
    assert text.splitlines()[-1].split()[0] == "failure"


JOBS = """
on: push
jobs:
  bad: {{runs-on: ubuntu-latest, steps: [{{run: exit {code}}}]}}
  after: {{needs: bad, runs-on: ubuntu-latest, steps: [{{run: echo after}}]}}
  last:
    needs: [bad, after]
    if: always()
    runs-on: ubuntu-latest
    steps: [{{run: 'echo "=${{{{ needs.bad.result }}}}=${{{{ contains(needs.*.result, ''failure'') }}}}="'}}]
"""


def test_jobs_after_a_failure_are_skipped_but_for_those_that_ask(runs: Runs) -> None:
    code, text = runs(JOBS.format(code=1))
    assert (code, "=failure=true=" in text) == (1, True)
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["failure", "skipped", "success"]
    code, text = runs(JOBS.format(code=0))
    assert (code, "=success=false=" in text) == (0, True)


def test_after_a_skipped_job_neither_success_nor_failure_holds(runs: Runs) -> None:
    """Of all jobs before, not only of those that are named: GitHub skips `third` as well."""
    text = """
on: push
jobs:
  first: {if: "false", runs-on: ubuntu-latest, steps: [{run: echo 1}]}
  second: {needs: first, if: "${{ !failure() && !cancelled() }}", runs-on: ubuntu-latest, steps: [{run: echo 2}]}
  third: {needs: second, runs-on: ubuntu-latest, steps: [{run: echo 3}]}
"""
    code, printed = runs(text)
    assert code == 0
    assert [line.split()[0] for line in printed.splitlines()[-3:]] == ["skipped", "success", "skipped"]


def test_a_step_that_may_fail(runs: Runs) -> None:
    step = "{id: may, run: exit 1, continue-on-error: true}"
    code, text = runs(one(step, "run: echo =${{ steps.may.outcome }}="))
    assert (code, "=failure=" in text) == (0, True)


def test_artifacts_go_from_job_to_job(runs: Runs) -> None:
    text = """
on: push
jobs:
  make:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir -p dist/deep && touch dist/a.whl dist/deep/b.txt dist/c.txt
      - {uses: actions/upload-artifact@1, with: {name: wheels, path: dist/*.whl}}
      - {uses: actions/upload-artifact@1, with: {name: folder, path: dist/}}
  take:
    needs: make
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/download-artifact@1, with: {name: folder, path: taken}}
      - {uses: actions/download-artifact@1, with: {path: both}}
      - {uses: actions/download-artifact@1, with: {path: merged, pattern: "*", merge-multiple: true}}
      - run: find . -type f | sort | tr '\\n' ' '
"""
    code, printed = runs(text)
    assert code == 0
    both = "./both/folder/a.whl ./both/folder/c.txt ./both/folder/deep/b.txt ./both/wheels/a.whl"
    merged = "./merged/a.whl ./merged/c.txt ./merged/deep/b.txt"
    assert f"{both} {merged} ./taken/a.whl ./taken/c.txt ./taken/deep/b.txt" in printed


def test_what_cannot_be_done_here_is_told(runs: Runs) -> None:
    steps = ("uses: pypa/gh-action-pypi-publish@1", "{run: gh release create, env: {GH_TOKEN: '${{ github.token }}'}}")
    code, text = runs(one(*steps))
    assert code == 0
    assert "not run: pypa/gh-action-pypi-publish@1: uploads" in text
    assert "not run: gh release create: needs the token of a runner" in text
    _, text = runs(one("run: echo ran").replace("ubuntu-latest", "windows-latest"))
    assert "not run: needs windows-latest" in text
    assert "\nran" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one("uses: someone/action@1"), "the action someone/action is not known here; known are actions/"),
        (one("run: true", job="    container: debian"), "one: container: not among the keys that can be run here"),
        (one("{run: 'true', shell: pwsh}"), "step 1: shell 'pwsh': only bash can be run here"),
        (one("{run: 'true', timeout: 5}"), "step 1: timeout: not among the keys"),
        (one("run: echo ${{ nothing.x }}"), "${{ nothing.x }}: Unrecognized named-value: 'nothing'"),
        (one("run: echo ${{ hashFiles('x') }}"), "Unrecognized function: 'hashFiles'"),
        (one("run: true", job="    strategy: {matrix: {a: []}}"), "matrix: a is []; expected is a list"),
        (one("run: true", job="    needs: two"), "one needs two; jobs are one"),
        (one("{uses: actions/checkout@1, with: {repository: x}}"), "actions/checkout: repository: not among the keys"),
        (one("{uses: actions/setup-python@1, with: {python-version: 3.11}}"), "3.11 needs quotes; 3.10 would be 3.1"),
        (one("{uses: actions/setup-python@1, with: {python-version: '2.99'}}"), "there is no Python 2.99 here; put"),
        (one("{uses: actions/download-artifact@1, with: {name: x}}"), "there is no artifact 'x'; there are: none"),
        (one("run: echo word >> $GITHUB_OUTPUT"), "wrote 'word' to"),
    ],
)
def test_what_is_not_known_is_an_error_in_words(runs: Runs, text: str, words: str) -> None:
    code, printed = runs(text)
    assert code > 0
    assert words in printed


WRONG = [
    (["nightli.yml"], "there is no workflow nightli.yml; there are"),
    (["ci.yml", "quik"], "no job quik in ci.yml; jobs are"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_a_wrong_name_is_an_error_in_words(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["workflow", *arguments])
    assert workflow.main() == 2
    assert words in capsys.readouterr().err


def test_a_combination_that_is_not_there_is_an_error(runs: Runs) -> None:
    text = one("run: echo ran", job="    strategy: {matrix: {a: [1, 2]}}")
    code, printed = runs(text, "one", "--matrix", "a=3")
    assert (code, "workflow: no combination of one has a=3" in printed, "\nran" in printed) == (2, True, False)
    code, printed = runs(text, "--matrix", "a=3")  # of a job that only comes along, it is told
    assert (code, "not run: no combination has what --matrix asks for" in printed) == (0, True)


def test_a_list_runs_nothing(runs: Runs) -> None:
    code, text = runs(one("run: echo ran"), "--list")
    assert (code, "1. echo ran" in text, "\nran" in text) == (0, True, False)


def test_each_version_of_python_is_found_where_it_lies(runs: Runs) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    step = f"{{uses: actions/setup-python@1, with: {{python-version: '{version}'}}}}"
    ask = "run: python -c 'import sys; print(\"=%d.%d=\" % sys.version_info[:2], sys.prefix == sys.base_prefix)'"
    _, text = runs(one(step, ask))
    assert f"={version}= True" in text


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ({"a": [1, 2], "b": [3]}, [{"a": 1, "b": 3}, {"a": 2, "b": 3}]),
        ({"a": [1, 2], "exclude": [{"a": 1}]}, [{"a": 2}]),
        ({"a": [1, 2], "include": [{"a": 2, "c": 5}]}, [{"a": 1}, {"a": 2, "c": 5}]),
        ({"a": [1, 2], "include": [{"c": 5}]}, [{"a": 1, "c": 5}, {"a": 2, "c": 5}]),
        ({"a": [1], "include": [{"a": 7, "c": 5}]}, [{"a": 1}, {"a": 7, "c": 5}]),
        ({"include": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}]),
        # of two that add to the same combination the later one counts
        ({"a": [1], "include": [{"c": 5}, {"c": 6}]}, [{"a": 1, "c": 6}]),
    ],
)
def test_a_matrix_is_expanded_as_the_documentation_has_it(matrix: dict[str, object], expected: list[object]) -> None:
    assert combinations(matrix) == expected


@pytest.fixture(scope="module")
def expressions() -> Iterator[Expressions]:
    with Expressions() as found:
        yield found


@pytest.mark.parametrize(
    ("condition", "before", "holds"),
    [
        (None, "success", True),
        (None, "failure", False),
        (None, "skipped", False),
        ("always()", "failure", True),
        ("failure()", "failure", True),
        ("failure()", "skipped", False),
        ("a.b == 'c'", "success", True),
        ("a.b == 'c'", "failure", False),  # no word about outcomes: it also asks that nothing failed
        ("${{ a.b != 'c' || a.nothing }}", "success", False),
        ("a.list != '[]'", "success", False),
        ("a.B == 'C'", "success", True),  # GitHub compares without regard to case
        (False, "success", False),
    ],
)
def test_conditions(expressions: Expressions, condition: object, before: str, holds: bool) -> None:
    assert expressions.holds(condition, {"a": {"b": "c", "list": "[]"}}, [before]) is holds


def test_an_expression_keeps_its_type_or_becomes_text(expressions: Expressions) -> None:
    given = {"x": ["${{ a.n }}", "n${{ a.n }}${{ a.missing }}", "plain", 5, "${{ fromJSON('[1, true]') }}"]}
    assert expressions.fill(given, {"a": {"n": 3}}) == {"x": [3, "n3", "plain", 5, [1, True]]}
    with pytest.raises(WorkflowError, match=r"\$\{\{ b \}\}: Unrecognized named-value: 'b'"):
        expressions.fill("${{ b }}", {"a": {}})


def test_a_wrong_output_is_found_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """GitHub would take it for an empty text."""
    path = tmp_path / "wrong.yml"
    path.write_text(one("run: echo ${{ steps.misspelt.outputs.x }}"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["workflow_lint", str(path)])
    assert workflow_lint.main() == 1
    assert 'property "misspelt" is not defined' in capfd.readouterr().out


def test_without_node_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"there is no node on the path; workflows need Node.js 20 or newer: https://"):
        node_tools.installed()


def test_other_files_than_the_lock_names_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tools are what was looked at: the checksum of each stands in the lock."""
    source = tmp_path / "node"
    shutil.copytree(node_tools.SOURCE, source)
    lock = source / "package-lock.json"
    text = lock.read_text(encoding="utf-8")
    first = text.index("sha512-") + len("sha512-")
    lock.write_text(text[:first] + text[first:][::-1][-88:] + text[first + 88 :], encoding="utf-8")
    monkeypatch.setattr(node_tools, "SOURCE", source)
    with pytest.raises(SystemExit, match="`npm ci` failed"):
        node_tools.install(tmp_path / "target")
    assert not (tmp_path / "target").exists()
