"""The outcome of a command as JUnit XML: a test case for each gate.

The elements are those that Jenkins, GitLab and pytest agree on (testsuites, testsuite, properties,
testcase with failure or error, system-out).
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from ..documents.report import Report
from ..judging.outcome import Problem, checks, others

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0


def junit_xml(command: str, outcome: Report | Problem) -> str:
    """Return a JUnit document.

    A gate that failed is a failure whose message names both numbers with units. Without a gate
    there is one test case, which passes. A problem is one test case too: a failure when a check
    failed, an error otherwise.

    Args:
        command: the command that ended, such as ``validate``.
        outcome: its report, or why there is none.
    """
    suites = Xml.Element("testsuites")
    suite = Xml.SubElement(suites, "testsuite", name=f"wfpipe {command}")
    if isinstance(outcome, Problem):
        kind = "failure" if outcome.check_failed else "error"
        _add_case(suite, "wfpipe", command, kind, outcome.line)
    else:
        _add_report(suite, command, outcome)
    for count, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        suite.set(count, str(len(list(suite.iter(tag)))))
    suite.set("skipped", "0")
    Xml.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(suites, "unicode") + "\n"


def _add_report(suite: Xml.Element, command: str, report: Report) -> None:
    properties = Xml.SubElement(suite, "properties")
    for name, value in report.environment.model_dump().items():
        Xml.SubElement(properties, "property", name=name, value=_text(str(value)))
    found = checks(report)
    for check in found:
        kind = None if check.passed else "failure"
        group = f"{report.model}.{check.form}" if report.variants else report.model
        _add_case(suite, group, check.name, kind, check.line)
    if not found:
        _add_case(suite, report.model, command, None, report.verdict)
    lines = [report.verdict, *others(report)]
    Xml.SubElement(suite, "system-out").text = _text("\n".join(lines))


def _add_case(suite: Xml.Element, group: str, name: str, kind: str | None, line: str) -> None:
    case = Xml.SubElement(suite, "testcase", classname=_text(group), name=_text(name))
    if kind is None:
        Xml.SubElement(case, "system-out").text = _text(line)
    else:
        Xml.SubElement(case, kind, message=_text(line), type="wfpipe").text = _text(line)


def _text(text: str) -> str:
    """Put a question mark where XML has no way to write a character; a file's name may hold it."""
    return _FORBIDDEN.sub("?", text)
