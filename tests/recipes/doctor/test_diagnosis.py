"""A diagnosis: its findings as text, as a frame and as HTML."""

from recipes.doctor.diagnosis import Diagnosis
from recipes.doctor.findings import CheckResult, Report


def diagnose(severity: str) -> Diagnosis:
    """A diagnosis of two checks, one of which found something."""
    sound, result = CheckResult("data", "rows", ""), CheckResult("data", "labels", "")
    sound.add_inspected(2, "rows")
    result.add_inspected(2, "labels")
    {"note": result.note, "warning": result.warn, "error": result.fail}[severity](
        "a <b>", "worse scores", "remove it", ["7"]
    )
    return Diagnosis(Report([sound, result]))


def test_a_note_is_clean_and_a_warning_is_not() -> None:
    assert diagnose("note").is_clean and not diagnose("warning").is_clean and not diagnose("error").is_clean
    assert [finding.message for finding in diagnose("note").findings] == ["a <b>"]
    assert diagnose("error").headline.startswith("verdict: fix the errors")


def test_it_is_shown_as_text_as_a_frame_and_as_html() -> None:
    diagnosis = diagnose("warning")
    assert str(diagnosis).splitlines() == [
        "labels: warning: a <b> Rows: 7. Leads to: worse scores. Do: remove it.",
        "verdict: ready to train, with warnings (1 ok, 1 warning).",
    ]
    frame = diagnosis.to_frame()
    assert frame[["severity", "check", "remedy"]].to_numpy().tolist() == [["warning", "labels", "remove it"]]
    assert list(Diagnosis(Report([])).to_frame().columns) == list(frame.columns)
    assert "a &lt;b&gt;" in diagnosis._repr_html_()


def test_a_finished_run_has_its_health_as_headline() -> None:
    health = {"headline": "collapsed", "against": None, "findings": []}
    assert Diagnosis(Report([]), health).headline == "health: the model has collapsed: it predicts one class."
