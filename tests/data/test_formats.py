"""Every format by name or by sight, on small invented files; and the files of practitioners.

The answers expected here are written by hand. `test_cases` needs the folder of cases next to the
real data; the numbers in it were counted independently.
"""

from __future__ import annotations

import pytest
from conftest import DATA, SECRET
from reading import histories, read, write

from kt_core.base.errors import KTError
from kt_core.data import ReadOptions, read_dataset
from kt_core.data.formats.readers import read_table
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.reading.options import AGAIN, FURTHER, NO_SKILL

LATE = "rows that stood after a later answer of the learner, put in order"


def answers(table):
    """(learner, skill, response, item) of every row."""
    item = table["item"] if "item" in table else [None] * len(table)
    return list(zip(table["user"], table["skill"], table["correct"], item, strict=True))


# --- DataShop and KDD Cup ------------------------------------------------------------------------

STEP = "Row\tAnon Student Id\tProblem Name\tStep Name\tFirst Transaction Time\t"
STEP += "Step Start Time\tFirst Attempt\tKC (Own)\n"


def test_datashop_steps(tmp_path):
    rows = [
        "1\tu\tp1\ts\t2011-01-01 10:02:00\t.\tcorrect\tadd~~sub",
        "2\tu\tp2\ts\t2011-01-01 10:01:00\t.\thint\tadd",
        "3\tu\tp1\tt\t2011-01-01 10:03:00\t.\tincorrect\t",
        "4\tu\tp3\ts\t2011-01-01 10:04:00\t.\t.\tadd",
    ]
    table, note = read(write(tmp_path, "steps.txt", STEP + "\n".join(rows) + "\n"))
    assert note.format == "DataShop student-step"
    assert answers(table) == [("u", "add", 0, "p2 :: s"), ("u", "add+sub", 1, "p1 :: s")]
    assert note.counts == {
        "steps without a first attempt, left out": 1,
        "hints in place of a response, read as not right": 1,
        NO_SKILL: 1,
        LATE: 1,
    }


def test_several_models_of_skills_are_refused_unless_one_is_chosen(tmp_path):
    head = STEP.replace("KC (Own)", "KC (Own)\tKC (F2011)")
    row = "1\tu\tp\ts\t2011-01-01 10:02:00\t.\tcorrect\tmine\ttheirs\n"
    path = write(tmp_path, "steps.txt", head + row)
    with pytest.raises(KTError, match=r"2 models .*KC \(Own\), KC \(F2011\); .*--kc-model Own"):
        read(path)
    for name in ("F2011", "KC (F2011)", "f2011"):
        assert read_table(path, ReadOptions(kc_model=name))[0]["skill"].tolist() == ["theirs"]
    with pytest.raises(KTError, match=r"no model 'x'; choose one with --kc-model: KC \(Own\)"):
        read(path, kc_model="x")
    by_name = ReadOptions(columns={"skill": "KC (Own)"})
    assert read_table(path, by_name)[0]["skill"].tolist() == ["mine"]
    with pytest.raises(KTError, match="no column KC"):
        read(write(tmp_path, "y.csv", "user,skill,correct\na,b,1\n"), kc_model="x")


TX = "Anon Student Id\tTime\tProblem Name\tStep Name\tAttempt At Step\tOutcome\tKC (D)\tKC (D)\n"


def test_datashop_transactions_are_read_to_the_first_attempt(tmp_path):
    rows = [
        "u\t2011-01-01 10:00:00\tp\ts\t1\tHINT\ta\tb",
        "u\t2011-01-01 10:00:09\tp\ts\t2\tCORRECT\ta\tb",
        "u\t2011-01-01 10:01:00\tp\tt\t1\tINCORRECT\ta\t",
        "u\t2011-01-01 10:02:00\tq\tt\t1\tCORRECT\tb\tb",
        "u\t2011-01-01 10:03:00\tq\tu\t1\t\tb\t",
    ]
    table, note = read(write(tmp_path, "tx.txt", TX + "\n".join(rows) + "\n"))
    assert answers(table) == [
        ("u", "a+b", 0, "p :: s"),
        ("u", "a", 0, "p :: t"),
        ("u", "b", 1, "q :: t"),
    ]
    assert note.counts["transactions that are not first attempts, left out"] == 1
    assert note.counts["transactions without an outcome, left out"] == 1


def test_transactions_without_a_first_attempt(tmp_path):
    row = "u\t2011-01-01 10:00:09\tp\ts\t2\tCORRECT\ta\tb\n"
    with pytest.raises(KTError, match=r"no row has both .*\(1 transactions that are not first"):
        read(write(tmp_path, "tx.txt", TX + row))


def test_kdd_cup_steps_of_other_problems_are_other_items(tmp_path):
    head = "Row\tAnon Student Id\tProblem Name\tStep Name\tFirst Transaction Time\t"
    head += "Correct First Attempt\tKC(Default)\n"
    times = ["2005-09-09 12:00:00.0", "2005-09-09 12:00:00.0", "2005-09-09 12:05:00.0"]
    rows = [f"{i}\tu\tp{i % 2}\tx=1\t{t}\t1\ta{i}\n" for i, t in enumerate(times)]
    table, note = read(write(tmp_path, "algebra_train.txt", head + "".join(rows)))
    assert note.format == "KDD Cup 2010" and FURTHER not in note.counts
    assert [a[1:] for a in answers(table)] == [
        ("a0", 1, "p0 :: x=1"),
        ("a1", 1, "p1 :: x=1"),
        ("a2", 1, "p0 :: x=1"),
    ]


# --- ASSISTments ---------------------------------------------------------------------------------


def test_assistments_2009_each_order_id_once(tmp_path):
    head = "order_id,user_id,problem_id,correct,skill_id,skill_name,opportunity\n"
    rows = [
        "3,u,7,1,2,Area,1",
        "3,u,7,1,5,,1",
        "3,u,7,1,2,Area,1",
        "1,u,8,0,2,Area,0",
        "4,u,7,0,,,1",
    ]
    table, note = read(write(tmp_path, "skill_builder.csv", head + "\n".join(rows) + "\n"))
    assert answers(table) == [("u", "2", 0, "8"), ("u", "2+5", 1, "7")]
    assert note.counts == {NO_SKILL: 1, LATE: 1, AGAIN: 1, FURTHER: 1}
    assert "skills are read from skill_id: skill_name is empty in 1 rows that have one" in str(note)


def test_assistments_2012_and_2015(tmp_path):
    text = "problem_log_id,skill,problem_id,user_id,start_time,end_time,correct,skill_id\n"
    text += "1,Area,9,u,2012-09-28 15:12:09.507,2012-09-28 15:13,1,3\n"
    text += "2,Angle,8,u,2012-09-28 15:11:09.5,2012-09-28 15:12,0.5,4\n"
    text += "3,Angle,8,u,2012-09-28 15:11:09.25,2012-09-28 15:12,0,4\n"
    table, note = read(write(tmp_path, "2012-2013.csv", text))
    assert answers(table) == [("u", "Angle", 0, "8"), ("u", "Area", 1, "9")]
    assert "start_time; not used: problem_log_id" in str(note)
    text = "user_id,log_id,sequence_id,correct\nu,2,k,1\nu,1,l,0\n"
    table, note = read(write(tmp_path, "2015.csv", text))
    assert answers(table) == [("u", "l", 0, None), ("u", "k", 1, None)]


def test_assistments_2017(tmp_path):
    text = "studentId,skill,problemId,startTime,endTime,correct,attemptCount\n"
    text += "1,area,5,1096470009,9,1,1\n1,noskill,6,1096470008,9,1,1\n1,sum,7,1096470001,9,0,1\n"
    table, note = read(write(tmp_path, "2017.csv", text))
    assert answers(table) == [("1", "sum", 0, "7"), ("1", "area", 1, "5")]
    assert note.format == "ASSISTments 2017" and note.counts == {NO_SKILL: 1, LATE: 1}


# --- EdNet, Riiid, Eedi, Junyi -------------------------------------------------------------------


def ednet(folder):
    write(
        folder,
        "contents/questions.csv",
        "question_id,bundle_id,correct_answer,part,tags\nq1,b,a,1,7;3\nq2,b,b,1,-1\nq3,b,c,1,7\n",
    )
    head = "timestamp,solving_id,question_id,user_answer,elapsed_time\n"
    write(folder, "KT1/u2.csv", head + "20,1,q3,c,9\n10,1,q1,b,9\n")
    write(folder, "KT1/u10.csv", head + "5,1,q1,a,9\n6,1,q2,b,9\n7,1,q3,,9\n")
    return folder


def test_ednet(tmp_path):
    folder = ednet(tmp_path / "ednet")
    want = [("u2", "3+7", 0, "q1"), ("u2", "7", 1, "q3"), ("u10", "3+7", 1, "q1")]
    for place in (folder, folder / "KT1"):
        table, note = read(place)
        assert answers(table) == want
        assert note.counts[NO_SKILL] == 1
        assert note.counts["questions left unanswered, left out"] == 1
    assert set(read_dataset(folder).sources) == {"ednet (3 files)"}  # their names are learners
    write(folder, "KT1/u3.csv", "timestamp,solving_id,question_id,user_answer\n1,1,q9,a\n")
    with pytest.raises(KTError, match=r"u3.csv, line 2: question 'q9' is not in .*questions.csv"):
        read(folder)
    with pytest.raises(KTError, match=r"\(a learner's file\), line 2: question") as caught:
        read(folder, pseudonyms=Pseudonyms(SECRET))
    assert "u3" not in str(caught.value)
    (folder / "contents" / "questions.csv").unlink()
    with pytest.raises(KTError, match="EdNet-KT1 without its contents/questions.csv"):
        read(folder)
    write(folder, "KT1/u0.csv", "timestamp,action_type,item_id,source,user_answer\n")
    with pytest.raises(KTError, match="not of EdNet-KT1 .*KT2 to KT4 log actions"):
        read(folder)


RIIID = "row_id,timestamp,user_id,content_id,content_type_id,user_answer,answered_correctly,part\n"
RIIID += "0,9,u,4,0,1,1,5\n1,7,u,3,1,-1,-1,\n2,5,u,5,0,0,0,2\n"


def test_riiid(tmp_path):
    path = write(tmp_path, "train.csv", RIIID)
    table, note = read(path)
    assert answers(table) == [("u", "2", 0, "5"), ("u", "5", 1, "4")]
    assert note.counts["lectures, left out"] == 1 and "put questions.csv next to" in str(note)
    write(
        tmp_path, "questions.csv", "question_id,correct_answer,part,tags\n4,1,5,92 51\n5,0,2,51\n"
    )
    table, note = read(path)
    assert answers(table) == [("u", "51", 0, "5"), ("u", "51+92", 1, "4")]
    assert "tags in questions.csv" in str(note)
    (tmp_path / "questions.csv").unlink()
    no_part = "\n".join(line.rsplit(",", 1)[0] for line in RIIID.splitlines())
    with pytest.raises(KTError, match="no column for 'skill'"):
        read(write(tmp_path, "x.csv", no_part))


def eedi(folder):
    train = "QuestionId,UserId,AnswerId,IsCorrect,CorrectAnswer,AnswerValue\n"
    train += "1,u,10,1,3,3\n2,u,11,0,1,3\n3,u,12,1,1,1\n"
    path = write(folder, "train_task_3_4.csv", train)
    dates = "AnswerId,DateAnswered\n12,2020-01-01 10:00:00.000\n11,2020-01-02 10:00:00.000\n"
    write(folder, "metadata/answer_metadata_task_3_4.csv", dates + "10,2020-01-03 10:00:00.000\n")
    subjects = 'QuestionId,SubjectId\n1,"[3, 71, 98]"\n2,"[3, 71, 98, 99]"\n3,"[3, 32]"\n'
    write(folder, "metadata/question_metadata_task_3_4.csv", subjects)
    return path


def test_eedi_with_its_metadata(tmp_path):
    path = eedi(tmp_path)
    table, note = read(path)
    assert answers(table) == [("u", "32", 1, "3"), ("u", "99", 0, "2"), ("u", "98", 1, "1")]
    assert "leaves of each list" in str(note) and note.counts == {LATE: 2}
    tree = (
        "SubjectId,Name,ParentId,Level\n3,Maths,NULL,0\n71,A,3,1\n98,B,71,2\n99,C,71,2\n32,D,3,1\n"
    )
    write(tmp_path, "metadata/subject_metadata.csv", tree)
    assert read(path)[0]["skill"].tolist() == ["32", "98+99", "98"]
    assert read(path, skill_level=1)[0]["skill"].tolist() == ["32", "71", "71"]
    with pytest.raises(KTError, match="no subject at level 7"):
        read(path, skill_level=7)
    (tmp_path / "metadata" / "answer_metadata_task_3_4.csv").unlink()
    with pytest.raises(
        KTError, match="an Eedi file without DateAnswered; put the folder metadata/"
    ):
        read(path)
    assert read(path, columns={"timestamp": ""})[0]["skill"].tolist() == ["98", "98+99", "32"]


def test_junyi(tmp_path):
    text = "user_id,exercise,problem_type,time_done,time_taken,correct\n"
    text += "u,sums,0,1420714810324490,9,true\nu,limits,1,1420714810324489,9,false\n"
    table, _note = read(write(tmp_path, "junyi_ProblemLog_original.csv", text))
    assert answers(table) == [("u", "limits", 0, "1"), ("u", "sums", 1, "0")]
    text = "timestamp_TW,uuid,ucid,upid,is_correct,level\n"
    text += "2018-09-21 16:00:00 UTC,u,c,p,True,1\n2018-09-20 16:00:00 UTC,u,d,q,False,1\n"
    assert answers(read(write(tmp_path, "Log_Problem.csv", text))[0])[0] == ("u", "d", 0, "q")


# --- pyKT, AKT -----------------------------------------------------------------------------------

QUESTIONS, LEVELS = "1,2,1,3", "3_11,7,3_11,0"
DATA_TXT = f"u,4\n{QUESTIONS}\n{LEVELS}\n1,0,1,1\n10,20,30,40\nNA\nv,1\n2\n7\n1\n50\nNA\n"
QUELEVEL = "fold,uid,questions,concepts,responses,timestamps,selectmasks\n"
QUELEVEL += f'0,u,"{QUESTIONS},-1","{LEVELS},-1","1,0,1,1,-1","10,20,30,40,-1","1,1,1,1,-1"\n'
QUELEVEL += '1,v,"2","7","1","50","1"\n'
SEQUENCES = "fold,uid,questions,concepts,responses,timestamps,selectmasks,is_repeat\n"
SEQUENCES += '0,u,"1,1,2,1","3,11,7,3","1,1,0,1","10,10,20,30","1,1,1,1","0,1,0,0"\n'
SEQUENCES += '0,u,"1,3,-1,-1","11,0,-1,-1","1,1,-1,-1","30,40,-1,-1","1,1,-1,-1","1,0,-1,-1"\n'
SEQUENCES += '1,v,"2","7","1","50","1","0"\n'


def test_pykts_three_forms_are_one(tmp_path):
    want = {"u": [("3+11", 1), ("7", 0), ("3+11", 1), ("0", 1)], "v": [("7", 1)]}
    texts = {"data.txt": DATA_TXT, "train_valid_quelevel.csv": QUELEVEL}
    texts["train_valid_sequences.csv"] = SEQUENCES
    for name, text in texts.items():
        table, _ = read(write(tmp_path, name, text))
        assert histories(table) == want, name
        assert table["item"].tolist() == ["1", "2", "1", "3", "2"]
    assert histories(read(tmp_path / "data.txt", format="pykt")[0]) == want


def windows(history, size, masked=True):
    """pyKT's window file of one learner: after the first window, only its last answer counts."""
    rows = []
    for end in range(size, len(history) + 1):
        part = history[end - size : end]
        mask = ["1"] * size if end == size else ["-1"] * (size - 1) + ["1"]
        lists = [",".join(str(row[i]) for row in part) for i in range(3)]
        row = ["0", "u", *(f'"{x}"' for x in lists)] + ([f'"{",".join(mask)}"'] if masked else [])
        rows.append(",".join(row))
    head = "fold,uid,concepts,responses,timestamps" + (",selectmasks" if masked else "")
    return "\n".join([head, *rows]) + "\n"


def test_pykts_windows_are_read_once(tmp_path, rng):
    history = [(int(k), int(r), t) for t, (k, r) in enumerate(rng.integers(0, 2, (60, 2)))]
    table, _ = read(write(tmp_path, "test_window_sequences.csv", windows(history, 25)))
    assert histories(table) == {"u": [(str(k), r) for k, r, _ in history]}
    with pytest.raises(KTError, match=r"line 3: repeats answers of the learner's previous row"):
        read(write(tmp_path, "w.csv", windows(history, 25, masked=False)))
    text = "fold,uid,concepts,responses,qidxs,rest\n0,u,1,1,0,0\n"
    with pytest.raises(KTError, match="question-level evaluation, which repeats histories"):
        read(write(tmp_path, "test_question_sequences.csv", text))


def test_a_broken_pykt_block_is_named(tmp_path):
    with pytest.raises(KTError, match="line 1: 5 steps announced, but 4 found"):
        read(write(tmp_path, "a.txt", DATA_TXT.replace("u,4", "u,5")), format="pykt")
    with pytest.raises(KTError, match="11 lines do not make whole blocks of 6"):
        read(write(tmp_path, "b.txt", DATA_TXT.rsplit("\n", 2)[0] + "\n"))


# --- formats that are not read -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.json", "[[4, 1], [1, 0]]\n", "EduData's JSON"),
        ("x.jsonl", '{"user": 1}\n', "JSON"),
        ("x.train", "# prompt:Yo\n# user:X  days:0.1\n", "Duolingo's SLAM"),
        ("x.txt", "2\tu\tp\tk1~k2\n", "hmm-scalable"),
        ("x.csv", "Surname,Email address,Grade/10.00,Q. 1 /1.00\nL,a,7,1\n", "gradebook such as"),
        ("x.csv", "id,q1,q2,q3\n1,0,1,1\n", "one row per learner and one column per question"),
        ("x.html", "<!DOCTYPE html>\n", "a web page"),
        ("x.csv", "Student,ID,SIS User ID,Task 1 (7)\nA,1,2,3\n", "a Canvas gradebook"),
        ("x.csv", "p_recall,user_id,lexeme_id\n1,a,b\n", "Duolingo's half-life"),
        ("x.csv", "Nachname,E-Mail,F 1 /1\nA,b,1\n", "a gradebook"),
        ("x.xls", b"\xd0\xcf\x11\xe0 \xa1", "an old spreadsheet"),
        ("x.rds", b"RDX3\n", "an R data file: .*write.csv"),
        ("x.db", b"SQLite format 3\0", "an SQLite database"),
    ],
)
def test_what_is_not_read_is_refused_by_name_with_a_way_on(tmp_path, name, text, words):
    with pytest.raises(KTError, match=words) as caught:
        read(write(tmp_path, name, text))
    assert name in str(caught.value)
    assert any(way in str(caught.value) for way in ("make a table", "save it", "write", "export"))


# --- the files of practitioners ------------------------------------------------------------------

CASES = DATA.parent / "cases" if DATA is not None else None
needs_cases = pytest.mark.skipif(
    CASES is None or not CASES.is_dir(), reason="no folder cases/ next to KT_DATA_DIR"
)
COUNTS = [  # path, options, answers, learners, skills, right
    ("assist09-raw/skill_builder_data_utf8.csv", {}, 905, None, None, None),
    ("assist09-raw/skill_builder_data.csv", {"encoding": "latin1"}, 905, None, None, None),
    ("assist17-raw/anonymized_full_release_competition_dataset.csv", {}, 721, 40, 2, None),
    ("datashop-step/ds507_student_step_All_Data.txt", {}, 800, 40, 3, 490),
    ("datashop-tx/tx_one_kc_no_hint.txt", {}, 677, 40, 3, None),
    ("datashop-tx/ds507_tx_All_Data.txt", {}, 800, 40, None, 490),
    ("eedi-nips34/train_task_3_4.csv", {}, 800, 40, 9, None),
    ("eedi-nips34/merged.csv", {}, 800, 40, 9, None),
    ("european-csv/antworten.csv", {}, 852, 40, 4, None),
    ("id-without-name/skills.csv", {}, 876, 40, 4, None),
    ("time-is-duration/quiz_log.csv", {}, 852, 40, 4, None),
    ("time-is-duration/quiz_log.csv", {"columns": {"timestamp": ""}}, 852, 40, 4, None),
    ("trailing-spaces/gradebook.csv", {}, 870, 40, 4, None),
    ("riiid/train.csv", {}, 559, 30, None, None),
    ("pykt-datatxt/data.txt", {}, 3179, 24, 18, None),
    ("pykt-quelevel/train_valid_quelevel.csv", {}, 3179, 24, 18, None),
    ("pykt-sequences/train_valid_sequences.csv", {}, 3179, 24, 18, None),
    ("words-for-correct/r-true.csv", {}, 864, 40, 4, None),
    ("words-for-correct/tf.csv", {}, 864, 40, 4, None),
    ("words-for-correct/yes-no.csv", {}, 864, 40, 4, None),
]


@needs_cases
@pytest.mark.parametrize(("path", "options", "answers", "learners", "skills", "right"), COUNTS)
def test_cases(path, options, answers, learners, skills, right):
    table, note = read_table(CASES / path, ReadOptions(**options))
    want = {"answers": answers, "learners": learners, "skills": skills, "right": right}
    assert {k: v for k, v in note.sizes.items() if want.get(k)} == {
        k: v for k, v in want.items() if v
    }
    if "timestamp" in table:
        assert all(t.is_monotonic_increasing for _, t in table.groupby("user")["timestamp"])


@needs_cases
def test_cases_of_folders_and_pykt():
    _table, note = read_table(CASES / "ednet-kt1")
    assert note.sizes["answers"] + note.counts[NO_SKILL] == 800 and note.sizes["learners"] == 40
    forms = ("datatxt/data.txt", "quelevel/train_valid_quelevel.csv")
    forms += ("sequences/train_valid_sequences.csv",)
    one, two, three = (histories(read_table(CASES / f"pykt-{form}")[0]) for form in forms)
    assert one == two == three
    leaves = read_table(CASES / "eedi-nips34" / "train_task_3_4.csv")[0]["skill"]
    assert set(leaves) == {str(k) for k in range(100, 109)}


@needs_cases
@pytest.mark.parametrize(
    "folder", ["edudata-json", "moodle-quiz", "duolingo-slam", "hmm-scalable", "xlsx"]
)
def test_cases_that_are_refused(folder):
    for path in (CASES / folder).iterdir():
        with pytest.raises(KTError, match="make a table|save it again, or as CSV"):
            read_table(path)
