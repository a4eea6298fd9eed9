from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from alchemy.cli.lake import upload_tree
from alchemy.connectors.registry import plan_units, read_unit
from alchemy.errors import AlchemyError, ErrorCode
from alchemy.types import Quarantined


class Repository:
    """A real repository whose commits have fixed times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.second = 1_500_000_000
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        self.second += 60
        env = {
            "PATH": "/usr/bin:/bin", "HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org",
            "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.org",
            "GIT_AUTHOR_DATE": f"{self.second} +0200", "GIT_COMMITTER_DATE": f"{self.second} +0200",
        }  # fmt: skip
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str, **files: str | bytes) -> str:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            (self.path / name.replace("__", ".")).write_bytes(raw)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", message)
        return self.git("rev-parse", "HEAD")[:12]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "app")


def upload(company, repository: Repository) -> int:
    return upload_tree(company.lake, repository.path, "raw/git_pr")


def test_every_commit_of_every_branch_and_tag_is_one_document(company, repository):
    first = repository.commit("XD-1 Start\n\nWith a body.\nSee XD-2.", a__py="1\n2\n", b__bin=b"\0")
    repository.git("tag", "v1")
    repository.git("mv", "a.py", "c.py")
    second = repository.commit("Move it", d__py="x\n")
    repository.git("checkout", "-q", "-b", "side", "v1")
    side = repository.commit("Aside", s__py="s\n")
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "Merge side", "side")
    merge = repository.git("rev-parse", "HEAD")[:12]
    repository.git("tag", "-a", "v2", "-m", "two")
    last = repository.commit("After the release", a__py="y\n")
    assert upload(company, repository) == 1
    documents = {d.id.removeprefix("git_pr:"): d for d in company.documents()}
    assert set(documents) == {first, second, side, merge, last}
    document = documents[first]
    assert document.title == "XD-1 Start"
    assert document.text == (
        "With a body.\nSee XD-2.\n\n## Changes\n\n- `a.py` (added, +2 -0)\n- `b.bin` (added, binary)"
    )
    assert document.uri == f"raw/git_pr/app.bundle#{first}"
    assert document.created_at == "2017-07-14T02:43:00Z"
    assert document.metrics == {
        "additions": 2.0, "deletions": 0.0, "files": 2.0, "description_chars": 22.0,
    }  # fmt: skip
    assert document.extra == {"jira_keys": ["XD-1", "XD-2"], "repository": "app", "tag": "v1"}
    assert documents[second].text == (
        "## Changes\n\n- `a.py` → `c.py` (renamed, +0 -0)\n- `d.py` (added, +1 -0)"
    )
    assert documents[merge].extra == {
        "repository": "app", "parents": [second, side], "merge": True, "tag": "v2",
    }  # fmt: skip
    assert documents[merge].metrics["files"] is None
    assert documents[last].extra["branch"] == "main"
    assert "example.org" not in "".join(d.to_json() for d in documents.values())


def test_awkward_names_and_messages_are_kept_apart(company, repository):
    (repository.path / "new\nline \t`x`.py").write_text("a\n")
    message = "Subject\n\n1\t2\tnot-a-file\n:100644 100644 aaa bbb M\n\x01odd"
    repository.commit(message)
    document = company_document(company, repository)
    assert document.text == (
        "1\t2\tnot-a-file\n:100644 100644 aaa bbb M\nodd\n\n"
        "## Changes\n\n- `new line 'x'.py` (added, +1 -0)"
    )


def company_document(company, repository: Repository):
    upload(company, repository)
    return company.document()


def test_commit_without_message_is_named_by_its_hash(company, repository):
    named = repository.commit("", a__py="1\n")
    empty = repository.commit("")
    upload(company, repository)
    assert {document.title for document in company.documents()} == {
        f"Commit {named}",
        f"Commit {empty}",
    }


def test_large_commit_is_bounded_and_counted(company, repository):
    repository.commit("Import", **{f"f{n}__txt": "x\n" for n in range(230)})
    document = company_document(company, repository)
    assert document.text.endswith("- 30 more files")
    assert document.metrics["files"] == document.metrics["additions"] == 230.0


def test_unchanged_repository_is_not_uploaded_again(company, repository):
    repository.commit("One", a__py="1\n")
    assert upload(company, repository) == 1
    stored = company.lake.read("raw/git_pr/app.bundle")
    assert upload(company, repository) == 0
    assert company.lake.read("raw/git_pr/app.bundle") == stored
    repository.commit("Two", a__py="2\n")
    assert upload(company, repository) == 1
    assert len(company.documents()) == 2


def test_bare_repository_is_uploaded_under_its_own_name(company, repository, tmp_path):
    repository.commit("One", a__py="1\n")
    repository.git("clone", "-q", "--bare", ".", str(tmp_path / "lib.git"))
    assert upload_tree(company.lake, tmp_path / "lib.git", "raw/git_pr") == 1
    assert [item.key for item in company.lake.list("raw/")] == ["raw/git_pr/lib.bundle"]
    assert company.document().title == "One"


def test_damaged_bundle_is_quarantined(company, repository):
    repository.commit("One", a__py="1\n" * 1000)
    upload(company, repository)
    whole = company.lake.read("raw/git_pr/app.bundle")
    reason = "not a complete git bundle"
    for broken in (whole[:-30], whole.replace(b"PACK", b"KCAP"), b"", b"# v2 git bundle\n\n"):
        company.put("raw/git_pr/app.bundle", broken)
        assert [r for _, r in company.quarantined()] in (
            [reason],
            ["the bundle has no branch and no tag"],
        )


def test_bundle_of_only_the_latest_commits_is_quarantined(company, repository):
    repository.commit("One", a__py="1\n")
    repository.commit("Two", a__py="2\n")
    repository.git("bundle", "create", "-q", "part.bundle", "HEAD~1..main")
    company.put("raw/git_pr/part.bundle", (repository.path / "part.bundle").read_bytes())
    assert company.quarantined() == [("file", "not a complete git bundle")]


def test_hooks_and_settings_of_a_repository_are_not_run(company, repository, tmp_path):
    repository.commit("One", a__py="1\n")
    mark = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "core.pager", "core.sshCommand"):
        repository.git("config", name, str(script))
    for hook in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        (repository.path / ".git" / "hooks" / hook).write_text(script.read_text())
        (repository.path / ".git" / "hooks" / hook).chmod(0o755)
    assert company_document(company, repository).title == "One"
    assert not mark.exists()


def test_empty_and_shallow_repositories_cannot_be_uploaded(company, repository, tmp_path):
    with pytest.raises(AlchemyError, match="has no commits"):
        upload(company, repository)
    repository.commit("One", a__py="1\n")
    repository.commit("Two", a__py="2\n")
    part = tmp_path / "part"
    repository.git("clone", "-q", "--depth", "1", f"file://{repository.path}", str(part))
    with pytest.raises(AlchemyError, match="latest part"):
        upload_tree(company.lake, part, "raw/git_pr")


def test_without_git_the_error_names_it(company, repository, monkeypatch):
    repository.commit("One", a__py="1\n")
    upload(company, repository)
    monkeypatch.setenv("PATH", "/nowhere")
    (unit,) = plan_units(company.lake, company.settings)
    with pytest.raises(AlchemyError) as caught:
        list(read_unit(company.lake, unit, company.settings))
    assert caught.value.code is ErrorCode.DEPENDENCY_MISSING


def test_repository_for_another_source_is_uploaded_as_files(company, repository):
    repository.commit("One", a__md="# A\n")
    upload_tree(company.lake, repository.path, "raw/documents")
    assert company.lake.exists("raw/documents/a.md")


def test_message_over_the_limit_is_quarantined_alone(company, repository):
    repository.commit("Small", a__py="1\n")
    large = repository.commit("x" * 3000, a__py="2\n")
    upload(company, repository)
    company.settings = company.settings.model_copy(
        update={"cleaning": company.settings.cleaning.model_copy(update={"max_record_bytes": 2048})}
    )
    found = company.outcomes()
    assert [x.title for x in found if not isinstance(x, Quarantined)] == ["Small"]
    (bad,) = [x for x in found if isinstance(x, Quarantined)]
    assert bad.position == f"commit {large}"
    assert "2048 bytes" in bad.reason
