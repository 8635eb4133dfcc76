"""The names that columns have: in the published formats with one row per answer, and in general."""

from __future__ import annotations

from kt_core.data.reading import Layout
from kt_core.data.reading.values import plain

GENERAL: dict[str, tuple[str, ...]] = {  # role -> tiers of plain names
    "user": ("user userid username learner learnerid student studentid uid anonstudentid",),
    "skill": (
        "skill skillid skillname skills kc kcid kcname kcs concept conceptid conceptname concepts "
        "knowledgecomponent knowledgecomponentid knowledgecomponents",
        "sequenceid",
    ),
    "correct": (
        "correct iscorrect answeredcorrectly correctfirstattempt firstattempt",
        "outcome",
        "response responses score result",
    ),
    "item": ("item itemid itemname question questionid problem problemid problemname exerciseid",),
    "step": ("stepname stepid",),
    "timestamp": (
        "timestamp timestamps starttime datetime firsttransactiontime stepstarttime dateanswered "
        "timedone answeredat createdat submittedat",
        "time date",
        "orderid logid problemlogid",
    ),
    "fold": ("fold",),
}
DATASHOP = {"user": "anonstudentid", "item": "problemname", "step": "stepname", "zone": "timezone"}
STEP_TIMES = {"timestamp": "firsttransactiontime stepstarttime"}
LAYOUTS = (
    Layout(
        "DataShop transactions",
        "anonstudentid outcome attemptatstep",
        DATASHOP | {"correct": "outcome", "timestamp": "time", "attempt": "attemptatstep"},
        keep={"attempt": ("1", "transactions that are not first attempts, left out")},
        blank_response="transactions without an outcome, left out",
        separators=("~~",),
        no_skill=(".",),
    ),
    Layout(
        "DataShop student-step",
        "anonstudentid firstattempt",
        DATASHOP | STEP_TIMES | {"correct": "firstattempt"},
        blank_response="steps without a first attempt, left out",
        separators=("~~",),
        no_skill=(".",),
    ),
    Layout(
        "KDD Cup 2010",
        "anonstudentid correctfirstattempt",
        DATASHOP | STEP_TIMES | {"correct": "correctfirstattempt"},
        separators=("~~",),
        no_skill=(".",),
    ),
    Layout(
        "ASSISTments 2017",
        "studentid skill problemid starttime correct attemptcount",
        {"timestamp": "starttime", "item": "problemid"},
        no_skill=("noskill",),
    ),
    Layout(
        "Riiid",
        "userid contentid contenttypeid answeredcorrectly",
        {
            "item": "contentid",
            "timestamp": "timestamp",
            "skill": "tags part",
            "lecture": "contenttypeid",
        },
        hint="put questions.csv, which has the tags, next to it",
        keep={"lecture": ("0", "lectures, left out")},
    ),
    Layout(
        "Eedi (NeurIPS 2020)",
        "questionid userid answerid iscorrect",
        {
            "user": "userid",
            "item": "questionid",
            "correct": "iscorrect",
            "timestamp": "dateanswered",
            "skill": "subjectid",
            "answer": "answerid",
        },
        hint="put the folder metadata/, which has times and subjects, next to it",
    ),
    Layout(
        "Junyi Academy (2015)",
        "userid exercise timedone correct",
        {"skill": "exercise", "item": "problemtype", "timestamp": "timedone"},
    ),
    Layout(
        "Junyi Academy (2020)",
        "uuid ucid upid iscorrect",
        {"user": "uuid", "skill": "ucid", "item": "upid", "timestamp": "timestamptw"},
    ),
)


def layout_of(header: list[str]) -> Layout:
    """The published format of a header, or the general one."""
    names = set(map(plain, header))
    found = (layout for layout in LAYOUTS if set(layout.needs.split()) <= names)
    return next(found, Layout("long table", ""))
