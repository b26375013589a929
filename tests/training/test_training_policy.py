"""Usage policies: what they forbid is refused, with the rule, the file and what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadm.cli.main import USER_ERROR, run
from sadm.core.config import write_yaml
from sadm.core.errors import UserError
from sadm.core.marking import read_mark
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import load_model, model_hash, save_model
from sadm.training.outputs import generated_images, read_records
from sadm.training.policy import PolicyConfig, enforce, policy_of
from sadm.training.reviews import add_review, export_generated, read_reviews
from sadm.training.spec import ModelSpec
from tiny import tiny_config


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder with a model that draws."""
    folder = tmp_path / "parts"
    sizes = NetConfig(patch=4, width=8, depth=1, heads=1)
    spec = ModelSpec((1, 8, 8), sizes, 0.5, ("good", "scratch"), (3, 1), DenoiserConfig(kind="vp"))
    save_model(folder / "model", spec, spec.build().net.state_dict(), SamplingConfig(steps=2), {})
    write_yaml(folder / "config.yaml", tiny_config())
    return folder


def ruled(folder: Path, text: str) -> Path:
    (folder / "policy.yaml").write_text(text)
    return folder / "policy.yaml"


def audited(folder: Path, **change: Any) -> None:
    facts = {
        "model": model_hash(folder),
        "drawn": True,
        "copies": 3,
        "images": 1000,
        "copy_rate_interval": [0.0006, 0.0087],
    }
    (folder / "audit.json").write_text(json.dumps(facts | change))


def refusal(folder: Path, action: str = "draw") -> str:
    with pytest.raises(UserError) as error:
        enforce(policy_of(folder), folder, action)  # type: ignore[arg-type]
    return str(error.value)


def test_without_a_policy_and_with_an_empty_one_nothing_is_forbidden(finished: Path) -> None:
    assert policy_of(finished) is None
    enforce(None, finished, "export")
    ruled(finished, "")
    enforce(policy_of(finished), finished, "export")


def test_a_policy_is_found_in_the_model_and_in_the_run_the_nearer_first(finished: Path, tmp_path: Path) -> None:
    ruled(finished, "owner: run")
    assert [policy_of(place).rules.owner for place in (finished, finished / "model")] == ["run", "run"]
    ruled(finished / "model", "owner: model")
    assert policy_of(finished).rules.owner == "model"
    (tmp_path / "other.yaml").write_text("owner: given")
    assert policy_of(finished, tmp_path / "other.yaml").rules.owner == "given"


def test_an_audit_may_be_required(finished: Path) -> None:
    path = ruled(finished, "require_audit: true\ncontact: a@b.example\n")
    said = refusal(finished)
    assert f"the usage policy {path} (require_audit: true) forbids this: there is no audit.json in {finished}" in said
    assert f"Run: sadm audit {finished}" in said
    assert "Ask a@b.example." in said
    audited(finished)
    enforce(policy_of(finished), finished, "draw")
    enforce(policy_of(finished / "model"), finished / "model", "export")
    audited(finished, model="0" * 64)
    assert "is of model 000000000000, and this one is " in refusal(finished)
    audited(finished, model=None)
    assert "is of a model that it does not name" in refusal(finished)
    audited(finished, drawn=False)
    assert "is of images of a folder" in refusal(finished)


@pytest.mark.parametrize(("limit", "forbidden"), [(0.0087, False), (0.0086, True), (0.0, True), (1.0, False)])
def test_what_counts_is_the_upper_end_of_the_interval(finished: Path, limit: float, forbidden: bool) -> None:
    ruled(finished, f"max_copy_rate: {limit}")
    assert "there is no audit.json" in refusal(finished, "export")
    audited(finished)
    if forbidden:
        said = refusal(finished, "export")
        assert (
            f"(max_copy_rate: {limit}) forbids this: by {finished / 'audit.json'} the copy rate may be as high as 0.0087"
            in said
        )
        assert "3 copies among 1000 images" in said
    else:
        enforce(policy_of(finished), finished, "export")


@pytest.mark.parametrize("interval", [None, [], [0.1], "0", [0, "1"], [0, 2], [0, float("nan")]])
def test_an_audit_without_an_interval_allows_nothing(finished: Path, interval: Any) -> None:
    ruled(finished, "max_copy_rate: 1.0")
    audited(finished, copy_rate_interval=interval)
    assert "has no interval of the copy rate" in refusal(finished)


def test_the_commands_refuse(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ruled(finished, "allow_model_export: false\nmax_images: 3\n")

    def complaint(*arguments: str) -> str:
        assert run([*arguments]) == USER_ERROR
        return capsys.readouterr().err

    out = str(tmp_path / "out")
    assert "(allow_model_export: false)" in complaint("export", str(finished), "--to", "onnx", "--out", f"{out}.onnx")
    assert "(allow_model_export: false)" in complaint("export", str(finished), "--to", "diffusers", "--out", out)
    assert "(allow_model_export: false)" in complaint("convert", str(finished), "--to", "diffusers", "--out", out)
    assert "(max_images: 3)" in complaint("sample", str(finished), "--count", "4", "--out", out)
    (tmp_path / "strict.yaml").write_text("require_audit: true")
    strict = ["--policy", str(tmp_path / "strict.yaml")]
    assert "(require_audit: true)" in complaint("sample", str(finished), "--count", "1", "--out", out, *strict)
    assert "(require_audit: true)" in complaint("convert", str(finished), "--to", "merged", "--out", out, *strict)
    assert not list(tmp_path.glob("out*"))
    assert run(["sample", str(finished), "--count", "3", "--out", out]) == 0


def test_a_folder_holds_no_more_images_than_allowed(finished: Path, tmp_path: Path) -> None:
    ruled(finished, "max_images: 2")
    model, image = load_model(finished), torch.zeros(1, 8, 8)
    with generated_images(tmp_path / "out", model, "a test") as outputs:
        for name in ("a.png", "b.png", "a.png"):
            outputs.add(name, image, seed=1)
        with pytest.raises(UserError, match=r"\(max_images: 2\) forbids this: .* would hold 3 generated images"):
            outputs.add("c.png", image, seed=1)
    assert sorted(read_records(tmp_path / "out")) == ["a.png", "b.png"]
    given = dataclasses.replace(model, policy=str(_written(tmp_path)))
    with pytest.raises(UserError, match="require_audit"):
        generated_images(tmp_path / "other", given, "a test").__enter__()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [("inpaint", ["--mask", "box:0.3"]), ("vary", []), ("restore", ["--damage", "noise", "--noise", "0.1"])],
)
def test_a_policy_given_to_one_command_holds(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, options: list[str]
) -> None:
    out = tmp_path / "made"
    where = ["--images", "digits", "--limit", "2", "--out", str(out), *options]
    assert run([command, str(finished), *where, "--policy", str(_written(tmp_path))]) == USER_ERROR
    assert "(require_audit: true) forbids this" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def _written(folder: Path) -> Path:
    (folder / "strict.yaml").write_text("require_audit: true")
    return folder / "strict.yaml"


def test_the_copy_of_a_model_has_its_policy(finished: Path, tmp_path: Path) -> None:
    ruled(finished, "max_images: 7")
    assert run(["convert", str(finished), "--to", "merged", "--out", str(tmp_path / "copy")]) == 0
    assert policy_of(tmp_path / "copy").rules.max_images == 7


@pytest.fixture
def drawn(finished: Path) -> Path:
    """Three generated images in the run's folder."""
    assert run(["sample", str(finished), "--count", "3"]) == 0
    return finished / "generated"


def test_generated_images_leave_with_their_marks(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    capsys.readouterr()
    assert run(["export", str(drawn), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"3 generated images with their marks in {tmp_path / 'out'}\n"
    assert read_records(tmp_path / "out") == read_records(drawn)
    for name in read_records(drawn):
        assert (tmp_path / "out" / name).read_bytes() == (drawn / name).read_bytes()
        assert read_mark(tmp_path / "out" / name) is not None
    assert run(["export", str(drawn), "--out", str(tmp_path / "x"), "--resolution", "4"]) == USER_ERROR
    assert "whose marks are kept" in capsys.readouterr().err


def test_what_was_not_approved_stays(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ruled(drawn.parent, "require_review: true")
    first, second, third = sorted(read_records(drawn))
    with pytest.raises(UserError, match=r"\(require_review: true\) forbids this: none of the 3 images"):
        export_generated(drawn, tmp_path / "out")
    add_review(drawn, first, True, "fine", "kim")
    add_review(drawn, second, True)
    add_review(drawn, second, False, "a sixth finger")
    assert read_reviews(drawn)[second].reason == "a sixth finger"
    capsys.readouterr()
    assert run(["export", str(drawn), "--out", str(tmp_path / "out")]) == 0
    assert "1 generated images with their marks" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [first]
    with pytest.raises(UserError, match="has no generated image nothing.png"):
        add_review(drawn, "nothing.png", True)
    # Another image of an approved name was not looked at.
    with generated_images(drawn, load_model(drawn.parent), "a test") as outputs:
        outputs.add(first, torch.ones(1, 8, 8), seed=5)
    with pytest.raises(UserError, match="none of the 3 images"):
        export_generated(drawn, tmp_path / "again")
    assert third not in read_reviews(drawn)


@pytest.mark.parametrize("left", ['{"file": "', "\udcff", '{"file": "gone.png", "approved": true}'])
def test_a_review_after_one_that_was_torn(drawn: Path, left: str) -> None:
    """A crash leaves the last line unfinished, or without its end: the next review is not lost with it."""
    first, second, _ = sorted(read_records(drawn))
    add_review(drawn, first, True)
    with open(drawn / "reviews.jsonl", "ab") as file:
        file.write(left.encode("utf-8", "surrogateescape"))
    add_review(drawn, second, False, "scratched")
    found = read_reviews(drawn)
    assert found[second].reason == "scratched"
    assert found.keys() == ({first, second, "gone.png"} if left.endswith("}") else {first, second})


def test_images_after_a_record_that_was_torn(drawn: Path) -> None:
    """Even where no record was whole."""
    (drawn / "records.jsonl").write_bytes(b'{"file": "a.p')
    with generated_images(drawn, load_model(drawn.parent), "a test") as outputs:
        outputs.add("b.png", torch.ones(1, 8, 8), seed=5)
        assert read_records(drawn).keys() == {"b.png"}
    assert read_records(drawn).keys() == {"b.png"}


def test_what_lies_beside_leaves_with_all_images_alone(drawn: Path, tmp_path: Path) -> None:
    ruled(drawn.parent, "require_review: true")
    (drawn / "masks").mkdir()
    (drawn / "masks" / "a.png").write_bytes(b"a mask")
    (drawn / "metadata.csv").write_text("file_name,label\n")
    names = sorted(read_records(drawn))
    for name in names[:2]:
        add_review(drawn, name, True)
    with pytest.raises(
        UserError, match=r"1 of the 3 images in .* are not approved, and masks/a.png beside them is of all"
    ):
        export_generated(drawn, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    add_review(drawn, names[2], True)
    assert export_generated(drawn, tmp_path / "out").written == 3
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {*names, "masks/a.png", "metadata.csv", "grid.png", "records.jsonl", "reviews.jsonl"}
    with pytest.raises(UserError, match="in the folder of the images itself"):
        export_generated(drawn, drawn / "out")


def test_an_image_that_was_changed_since_does_not_leave(drawn: Path, tmp_path: Path) -> None:
    from PIL import Image

    name = min(read_records(drawn))
    whole = (drawn / name).read_bytes()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(drawn / name)
    with pytest.raises(UserError, match="has no mark"):
        export_generated(drawn, tmp_path / "out")
    (drawn / name).write_bytes(whole)
    record = {"file": "../../secret.png", "pixels": ""}
    (drawn / "records.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(UserError, match="leads out of its folder"):
        export_generated(drawn, tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_copyrate: 0.1", "unknown key 'max_copyrate'; did you mean 'max_copy_rate'?"),
        ("max_copy_rate: 1.5", "'max_copy_rate'"),
        ("max_images: 0", "'max_images'"),
        ("require_review: maybe", "'require_review'"),
        ("permitted: all", "'permitted'"),
        ("- a", "expected 'key: value' lines"),
    ],
)
def test_mistakes_in_a_policy(finished: Path, text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    path = ruled(finished, text)
    assert run(["sample", str(finished), "--count", "1"]) == USER_ERROR
    said = capsys.readouterr().err
    assert message in said
    assert str(path) in said


def test_every_rule_is_explained() -> None:
    assert all(field.description for field in PolicyConfig.model_fields.values())


def test_approved_images_alone_leave_where_that_is_asked_for(drawn: Path, tmp_path: Path) -> None:
    """Without any policy."""
    first, second, _ = sorted(read_records(drawn))
    with pytest.raises(UserError, match=r"none of the 3 images in .* is approved. Review them first"):
        export_generated(drawn, tmp_path / "out", approved_only=True)
    add_review(drawn, second, True)
    add_review(drawn, first, False)
    exported = export_generated(drawn, tmp_path / "out", approved_only=True)
    assert (exported.written, exported.left) == (1, 2)
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == [second]
    assert export_generated(drawn, tmp_path / "all").written == 3
    (drawn / "metadata.csv").write_text("")
    with pytest.raises(
        UserError, match=r"2 of the 3 images in .* are not approved, and metadata.csv beside them is of all"
    ):
        export_generated(drawn, tmp_path / "other", approved_only=True)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("sample", ["--count", "2"]),
        ("inpaint", ["--images", "digits", "--limit", "2", "--mask", "box:0.3"]),
        ("vary", ["--images", "digits", "--limit", "2"]),
        ("restore", ["--images", "digits", "--limit", "2", "--damage", "noise", "--noise", "0.1"]),
    ],
)
def test_images_outside_of_the_run_are_reviewed_all_the_same(
    finished: Path, tmp_path: Path, command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "elsewhere" / "made"
    rule = ruled(finished, "require_review: true\ncontact: a@b.example\n")
    assert run([command, str(finished), "--out", str(out), *options]) == 0
    assert (out / "policy.yaml").read_bytes() == rule.read_bytes()
    capsys.readouterr()
    assert run(["export", str(out), "--out", str(tmp_path / "shipped")]) == USER_ERROR
    assert f"{out / 'policy.yaml'} (require_review: true) forbids this: none of" in capsys.readouterr().err
    assert not (tmp_path / "shipped").exists()


def test_a_policy_is_copied_only_where_it_would_not_be_found(finished: Path, tmp_path: Path) -> None:
    def copied(out: Path, *more: str) -> bool:
        assert run(["sample", str(finished), "--count", "1", "--out", str(out), *more]) == 0
        return (out / "policy.yaml").exists()

    assert not copied(tmp_path / "free")
    rule = ruled(finished, "require_review: true")
    assert not copied(finished / "generated")
    assert copied(tmp_path / "free")
    lax = ruled(tmp_path / "free", "require_review: false")  # such as that of a model that drew there before
    assert copied(tmp_path / "free")
    assert lax.read_bytes() == rule.read_bytes()
    own = ruled(tmp_path / "free", "require_review: true\nowner: somebody\n").read_bytes()
    assert copied(tmp_path / "free")
    assert (tmp_path / "free" / "policy.yaml").read_bytes() == own
    rule.write_text("")
    (tmp_path / "strict.yaml").write_text("require_review: true")
    assert copied(finished / "given", "--policy", str(tmp_path / "strict.yaml"))


def delivered(folder: Path) -> tuple[list[str], list[str]]:
    """What a folder lists, and the images that it holds."""
    return sorted(read_records(folder)), sorted(path.name for path in folder.glob("*.png"))


def test_an_image_that_was_rejected_since_leaves_the_delivery(drawn: Path, tmp_path: Path) -> None:
    first, second, third = sorted(read_records(drawn))
    out = tmp_path / "out"
    assert export_generated(drawn, out).written == 3
    assert delivered(out) == ([first, second, third], [first, second, third, "grid.png"])
    ruled(drawn.parent, "require_review: true")
    for name in (first, second, third):
        add_review(drawn, name, name != second)
    assert export_generated(drawn, out).written == 2
    assert delivered(out) == ([first, third], [first, third])  # the grid shows it, too
    add_review(drawn, first, False)
    add_review(drawn, third, False)
    with pytest.raises(
        UserError, match=r"none of the 3 images.*out still holds what was exported before: delete it, too"
    ):
        export_generated(drawn, out)


@pytest.mark.parametrize("step", ["write_atomically", "remove_leftovers", "_copy", "move_into_place"])
def test_an_export_that_broke_off_lists_nothing_rejected_and_goes_on(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At the table, before files are deleted, before one is copied and before it is in its place."""
    first, second, third = sorted(read_records(drawn))
    before, after = tmp_path / "empty", tmp_path / "once"
    export_generated(drawn, after)
    for name in (first, second, third):
        add_review(drawn, name, name != second)

    def broken(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    for out in (before, after):
        with monkeypatch.context() as patch:
            patch.setattr(f"sadm.training.reviews.{step}", broken)
            with pytest.raises(KeyboardInterrupt):
                export_generated(drawn, out, approved_only=True)
        if step != "write_atomically":
            assert sorted(read_records(out)) == [first, third]
        assert export_generated(drawn, out, approved_only=True).written == 2
        assert delivered(out) == ([first, third], [first, third])
        assert not list(out.rglob(".*.tmp"))


def test_images_of_another_folder_are_not_taken_away(drawn: Path, tmp_path: Path) -> None:
    assert run(["sample", str(drawn.parent), "--count", "2", "--seed", "5", "--out", str(tmp_path / "other")]) == 0
    before = delivered(tmp_path / "other")
    with pytest.raises(UserError, match="other holds other images than .*generated does. Choose another --out"):
        export_generated(drawn, tmp_path / "other")
    assert delivered(tmp_path / "other") == before


def test_a_reason_may_hold_any_character(drawn: Path) -> None:
    first, second, _ = sorted(read_records(drawn))
    add_review(drawn, first, False, "a\u2028b\u0085c", "kim\u2029")
    add_review(drawn, second, True)
    reviews = read_reviews(drawn)
    assert (reviews[first].reason, reviews[first].reviewer, reviews[second].approved) == (
        "a\u2028b\u0085c",
        "kim\u2029",
        True,
    )
