"""Every format by name or by sight, on small invented files; and the files of practitioners.

The answers expected here are written by hand. `test_cases` needs the folder of cases next to the
real data; the numbers in it were counted independently.
"""

from __future__ import annotations

import numpy as np
import openpyxl
import pandas as pd
import pytest
from conftest import DATA, SECRET
from reading import histories, read, write

from kt_core.base.errors import KTError
from kt_core.data import ReadOptions, read_dataset
from kt_core.data.formats.readers import read_table
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.reading.options import AGAIN, ALIKE, FURTHER, HEADERS, NO_LEARNER, NO_SKILL

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


# --- long tables of any kind ---------------------------------------------------------------------

HEAD = "user,skill,correct"


@pytest.mark.parametrize(
    ("words", "right"),
    [("TRUE FALSE", 1), ("t f", 1), ("Y N", 1), ("yes No", 1), ("Correct hint", 1), ("1.0 0.0", 1)],
)
def test_words_for_right_and_wrong(tmp_path, words, right):
    a, b = words.split()
    table, _ = read(write(tmp_path, "x.csv", f"{HEAD}\na,s,{a}\na,s,{b}\n"))
    assert table["correct"].tolist() == [right, 1 - right]


def test_decimal_commas_where_semicolons_separate(tmp_path):
    text = "user;skill;correct;timestamp\na;s;1,0;2,5\na;t;0,0;1,5\na;u;0,5;3\n"
    table, _note = read(write(tmp_path, "x.csv", text))
    assert answers(table) == [("a", "t", 0, None), ("a", "s", 1, None)]
    with pytest.raises(KTError, match="line 2: response '1,0' is not 0 or 1"):
        read(write(tmp_path, "y.csv", f'{HEAD}\na,s,"1,0"\n'))


@pytest.mark.parametrize("encoding", ["latin1", "cp1252", "utf-16", "utf-8-sig"])
def test_other_encodings(tmp_path, encoding):
    text = f"{HEAD}\nJosé,Équations à étapes,1\nJosé,b,0\n"
    path = write(tmp_path, "x.csv", text.encode(encoding))
    given = "utf-8" if encoding == "utf-8-sig" else encoding
    table, _ = read(path, encoding=given)
    assert table["skill"].tolist() == ["Équations à étapes", "b"]
    if encoding in ("latin1", "utf-16"):
        with pytest.raises(KTError, match=f"--encoding {encoding}"):
            read(path)


def test_encodings_that_do_not_exist_or_do_not_fit(tmp_path):
    path = write(tmp_path, "x.csv", f"{HEAD}\né,b,1\n")
    for name in ("latin-17", "rot13", "zip"):
        with pytest.raises(KTError, match="no such encoding"):
            read(path, encoding=name)
    with pytest.raises(KTError, match="line [12].*not ascii"):
        read(path, encoding="ascii")


def test_blanks_and_composed_characters(tmp_path):
    text = f"{HEAD},item\n é , a ,1,q\ne\u0301,a,0,q \né,\u00a0a,1,q\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert answers(table) == [("é", "a", r, "q") for r in (1, 0, 1)]
    assert note.counts["rows with blanks around an id or a name, trimmed"] == 3
    assert note.counts["rows with characters written in parts, composed (NFC)"] == 1


def test_missing_learners_and_skills(tmp_path):
    text = f"{HEAD}\nNA,a,1\nu,NULL,1\nu,a,0\n,a,1\nu,NaN,1\nnone,a,1\n"
    path = write(tmp_path, "x.csv", text)
    table, note = read(path)
    assert answers(table) == [("u", "a", 0, None), ("none", "a", 1, None)]
    assert note.counts.pop("rows with a learner or skill such as . - ? n/a none, kept") == 1
    assert note.counts == {NO_LEARNER: 2, NO_SKILL: 2}
    table, note = read(path, missing_as_text=True)
    assert len(table) == 5 and note.counts == {NO_LEARNER: 1}


def test_headers_between_the_rows(tmp_path):
    text = f"{HEAD},item\na,s,1,i\n{HEAD},item\na,s,0,i\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert len(table) == 2 and note.counts == {HEADERS: 1}


@pytest.mark.parametrize(
    "again",
    ["\ufeffuser,skill,correct,item", " user , skill,correct ,item", "User,Skill,CORRECT,Item"],
)
def test_headers_of_joined_files_in_any_spelling(tmp_path, again):
    text = f"{HEAD},item\na,s,1,i\n{again}\na,s,0,i\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert len(table) == 2 and note.counts == {HEADERS: 1}


def test_a_header_in_another_order_is_refused(tmp_path):
    path = write(tmp_path, "x.csv", f"{HEAD}\na,s,1\nskill,user,correct\nt,b,1\n")
    with pytest.raises(KTError, match="line 3: a header again, with its columns in another order"):
        read(path)


def test_an_option_that_was_chosen_is_not_a_response(tmp_path):
    path = write(tmp_path, "x.csv", "student,skill,response,correct_answer\ns,A,1,0\ns,A,0,0\n")
    with pytest.raises(KTError, match="response may be the option .* there is also correct_answer"):
        read(path)
    assert read(path, columns={"correct": "response"})[0]["correct"].tolist() == [1, 0]


def test_ties_keep_the_order_of_the_file(tmp_path):
    rows = "u,X,A,0,2024-03-01 10:00\nu,X,B,1,2024-03-01 10:00\nu,X,A,1,2024-03-01 10:00\n"
    table, _ = read(write(tmp_path, "x.csv", f"user,skill,item,correct,timestamp\n{rows}"))
    assert table["item"].tolist() == ["A", "B", "A"]
    cells = "u,X,A,1,5 u,X,B,1,5 u,Y,A,1,5 u,X,A,1,5 u,Z,C,1,6 u,Z,D,1,7 u,Z,E,1,8"
    rows = "".join(f"{row},{i}\n" for i, row in enumerate(cells.split()))
    table, _ = read(write(tmp_path, "y.csv", f"user,skill,item,correct,timestamp,row\n{rows}"))
    assert table["skill"].tolist()[:3] == ["X+Y", "X", "X"]


@pytest.mark.parametrize("day", ["2024-03-02 00:00:00", "2024-03-02T0:00", "20240302", "45352"])
def test_days_do_not_tell_answers_apart(tmp_path, day):
    rows = "".join(f"u,{q},A,1,{day}\n" for q in "qrqrqr")
    table, note = read(write(tmp_path, "x.csv", f"user,item,skill,correct,date\n{rows}"))
    assert table["item"].tolist() == list("qrqrqr")
    assert note.counts == {ALIKE: 4}


def test_two_time_zones_are_told(tmp_path):
    head = TX.replace("Time\t", "Time\tTime Zone\t")
    rows = "".join(
        f"u\t2011-01-01 1{i}:00:00\t{z}\tp\ts\t1\tHINT\ta\t\n" for i, z in enumerate("AB")
    )
    note = read(write(tmp_path, "tx.txt", head + rows))[1]
    assert "times of 2 time zones are compared as they stand: A, B" in str(note)


def test_flags_as_tables_write_them(tmp_path):
    for yes, no in (("0.0", "1.0"), ("False", "True")):
        text = RIIID.replace(",0,1,1,5", f",{yes},1,1,5").replace(",1,-1,-1", f",{no},-1,-1")
        assert read(write(tmp_path, f"{yes}.csv", text))[1].sizes["answers"] == 2


def test_braces_and_semicolons_in_the_skills_of_datashop(tmp_path):
    skill = "[SkillRule: Remove constant; {ax+b=c, positive; ax+b=c, negative}]"
    row = f"1\tu\tp\ts\t2011-01-01 10:02:00\t.\tcorrect\t{skill}~~x\n"
    table, note = read(write(tmp_path, "kdd.txt", STEP + row + row.replace(f"{skill}~~x", ".")))
    assert set(table["skill"]) == {f"x+{skill}"} and note.counts[NO_SKILL] == 1


def test_eedi_in_its_published_folders(tmp_path):
    path = eedi(tmp_path / "data")
    train = tmp_path / "data" / "train_data" / path.name
    train.parent.mkdir()
    path.rename(train)
    dates = tmp_path / "data" / "metadata" / "answer_metadata_task_3_4.csv"
    dates.write_text(dates.read_text().replace("12,2", "12.0,2"))
    assert read(train)[0]["skill"].tolist() == ["32", "99", "98"]
    dates.write_text(dates.read_text().replace("11,2", "13,2"))
    with pytest.raises(KTError, match="line 3: answer '11' has no DateAnswered in answer_metadata"):
        read(train)
    (tmp_path / "data" / "metadata" / "question_metadata_task_3_4.csv").unlink()
    with pytest.raises(KTError, match="no column for 'skill'.*or put the folder metadata/"):
        read(train)


def test_pykts_unknown_lists(tmp_path):
    text = "u,3\nNA\n1,2_3,1\n1,0,1\nNA\nNA\nv,1\nNA\n1\n1\nNA\nNA\n"
    table, note = read(write(tmp_path, "data.txt", text))
    assert table["skill"].tolist() == ["1", "2+3", "1", "1"]
    assert "time       none (its line: nothing is known)" in str(note)
    rows = 'fold,uid,questions,concepts,responses\n0,u,"5,6","1,2","1,0"\n0,v,NA,"1,2","1,0"\n'
    assert read(write(tmp_path, "s.csv", rows))[0]["item"].tolist() == ["5", "6", "", ""]


@pytest.mark.parametrize("stride", [1, 5, 0])
def test_histories_in_overlapping_rows_are_refused(tmp_path, rng, stride):
    history = [(int(k), int(r)) for k, r in rng.integers(0, 4, (60, 2)) % 2]
    ends = range(20, 61, stride or 10)
    rows = []
    for end in ends:
        for user in "uv":  # one after the other
            part = history[(end - 20 if stride else 0) : end]
            lists = [",".join(str(row[i]) for row in part) for i in range(2)]
            rows.append(f'0,{user},"{lists[0]}","{lists[1]}"\n')
    path = write(tmp_path, "w.csv", "fold,uid,concepts,responses\n" + "".join(rows))
    with pytest.raises(KTError, match="line 4: repeats answers of the learner's previous row"):
        read(path)


def test_a_block_whose_rows_are_all_dropped(tmp_path):
    text = f"{HEAD},item,timestamp,fold\n" + "NA,x,1,i,5,0\n" * 900 + "u,A,1,i,5,0\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert len(table) == 1 and note.counts[NO_LEARNER] == 900


def test_a_learner_in_two_folds(tmp_path):
    path = write(tmp_path, "x.csv", f"{HEAD},fold\na,s,1,0\na,s,1,1\n")
    with pytest.raises(KTError, match="is in the folds"):
        read(path)


def test_nothing_left_says_why(tmp_path):
    with pytest.raises(KTError, match=r"no row has both .*\(1 rows without a skill, dropped\)"):
        read(write(tmp_path, "x.csv", f"{HEAD}\na,,1\n"))


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (
            ['"add,sub"', "add", "sub"],
            "'add,sub' are read as one skill, although their parts stand",
        ),
        (["a|b", "a", "b"], "separator | divides"),
        (["1_2", "1", "2"], "separator _ divides"),
        (["12/3/2024", "a"], "1 skills look like dates"),
    ],
)
def test_what_could_be_read_in_another_way_is_told(tmp_path, cells, told):
    rows = "".join(f"u,{cell},1\n" for cell in cells)
    assert told in str(read(write(tmp_path, "x.csv", f"{HEAD}\n{rows}"))[1])


def test_ids_written_in_two_ways_are_told(tmp_path):
    note = read(write(tmp_path, "x.csv", f"{HEAD}\n12,s,1\n12.0,s,1\n"))[1]
    assert "learners are written as 12 and as 12.0" in str(note)


def test_another_separator_of_columns_and_quotes_in_the_header(tmp_path):
    assert len(read(write(tmp_path, "x.csv", "user|skill|correct\na|s|1\n"))[0]) == 1
    text = 'user,skill,correct,"Note; x; y; z; w"\na,s,1,n\n'
    assert len(read(write(tmp_path, "y.csv", text))[0]) == 1
    with pytest.raises(KTError, match="first line 'sep=;' is for Excel alone; remove it"):
        read(write(tmp_path, "z.csv", "sep=;\nuser;skill;correct\na;s;1\n"))


def test_names_that_would_steer_a_terminal_are_escaped(tmp_path):
    path = write(tmp_path, "x.csv", 'user,skill,\x1b[31mRED,"a\n1 row: all is well"\na,s,1,1\n')
    with pytest.raises(KTError) as caught:
        read(path)
    assert "\\x1b[31mRED, a\\n1 row" in str(caught.value) and "\x1b" not in str(caught.value)
    note = read(path, columns={"correct": "\x1b[31mRED"})[1]
    assert "\\x1b" in str(note) and "\x1b" not in str(note)
    with pytest.raises(KTError) as caught:
        read(write(tmp_path, "y.csv", f"{HEAD}\na,s,{'x' * 100_000}\n"))
    assert len(str(caught.value)) < 400


def test_rows_to_the_letter_are_one_answer_only_where_a_time_tells(tmp_path):
    rows = "a,s,1,q,5\na,s,1,q,5\na,s,1,q,6\n"
    for column, left in (("timestamp", 2), ("order_id", 2), ("other", 3)):
        table, note = read(write(tmp_path, f"{column}.csv", f"{HEAD},item,{column}\n{rows}"))
        assert len(table) == left and note.counts.get(AGAIN, 0) == 3 - left
    days = "a,s,1,q,2011-02-01\n" * 3
    assert len(read(write(tmp_path, "d.csv", f"{HEAD},item,date\n{days}"))[0]) == 3
    same = "a,s,1,q,0\n" * 3  # such as the times of Statics
    assert len(read(write(tmp_path, "s.csv", f"{HEAD},item,timestamp\n{same}"))[0]) == 3
    other = f"{HEAD},item,timestamp,hints\na,s,1,q,5,0\na,s,1,q,5,1\n"
    assert len(read(write(tmp_path, "o.csv", other))[0]) == 2


def test_an_answers_rows_need_not_be_side_by_side(tmp_path):
    rows = "a,s,1,q,5\na,x,1,r,5\na,t,1,q,5\na,t,1,q,6\na,s,0,q,6\n"
    table, note = read(write(tmp_path, "x.csv", f"{HEAD},item,timestamp\n{rows}"))
    assert table["skill"].tolist() == ["s+t", "x", "t", "s"] and note.counts == {FURTHER: 1}


@pytest.mark.parametrize(
    ("cells", "want"),
    [
        (["a~~b", "b~~a", "a~~a"], ["a+b", "a+b", "a"]),
        (["a;b", "c"], ["a+b", "c"]),
        (['"[""b"", ""a""]"', "[3]"], ["a+b", "3"]),
        (['"3,12"', "[12]"], ["3+12", "12"]),
        (["a+b", "b", "a"], ["a+b", "b", "a"]),
        (["b+a", "b", "a"], ["a+b", "b", "a"]),
        (["C++", "Add + take", "b"], ["C++", "Add + take", "b"]),
        (['"Area, volume"', "Area"], ["Area, volume", "Area"]),
        (["3_12", "3", "12"], ["3_12", "3", "12"]),
        (["a~~b", "a+b", "b"], ["a+b", "a+b", "b"]),
        (["['b' 'a']", "[1 2]", '"[""a"", null]"'], ["a+b", "1+2", "a"]),
    ],
)
def test_several_skills_in_one_value(tmp_path, cells, want):
    text = HEAD + "\n" + "".join(f"u,{cell},1\n" for cell in cells)
    assert read(write(tmp_path, "x.csv", text))[0]["skill"].tolist() == want


def test_names_with_a_plus_are_told_or_divided_as_wanted(tmp_path):
    path = write(tmp_path, "x.csv", f"{HEAD}\nu,Add + take,1\nu,a;b,1\n")
    assert "1 names have a + and are read as one skill, such as 'Add + take'" in str(read(path)[1])
    assert read(path, skill_separator="+")[0]["skill"].tolist() == ["Add+take", "a;b"]
    assert read(path, skill_separator="none")[0]["skill"].tolist() == ["Add + take", "a;b"]


def test_a_combined_name_is_never_the_name_of_one_skill(tmp_path):
    rows = f"{HEAD},item\nu,a,1,q\nu,b,1,q\nu,a+b,1,r\n"
    path = write(tmp_path, "x.csv", rows)
    assert read(path)[0]["skill"].tolist() == ["a+b", "a+b"]  # the same two skills
    with pytest.raises(
        KTError, match="'a.b' is one skill, and also the name of an answer on several"
    ):
        read(path, skill_separator="none")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("user,skill,correct,is_correct", "correct, is_correct could each be the response"),
        ("user_id,student_id,skill,correct", "user_id, student_id could each be the learner"),
        ("user,skill,concept,correct", "skill, concept could each be the skill"),
        ("user,skill,correct,item_id,question_id", "item_id, question_id could each be the item"),
    ],
)
def test_two_candidates_are_refused_with_the_way_out(tmp_path, header, words):
    row = ",".join("1" for _ in header.split(","))
    path = write(tmp_path, "x.csv", f"{header}\n{row}\n")
    with pytest.raises(KTError, match=rf"{words}; name one of them: --column \w+=\w+ or --column"):
        read(path)


def test_the_rules_that_choose_between_columns_are_told(tmp_path):
    text = "user,user_id,skill,correct,response,score\nAda,7,s,1,x,50\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert table["user"].tolist() == ["7"]
    assert "learner    user_id (its id); not used: user" in str(note)
    assert "response   correct; not used: response, score" in str(note)


def test_what_the_user_says_of_columns(tmp_path):
    path = write(tmp_path, "x.csv", f"{HEAD},item,step_name\na,s,1,p,q\n")
    assert read(path, columns={"item": "item+step_name"})[0]["item"].tolist() == ["p :: q"]
    assert "item" not in read(path, columns={"item": ""})[0]
    with pytest.raises(KTError, match="a table cannot do without this column"):
        read(path, columns={"user": ""})
    with pytest.raises(KTError, match=r"no column for 'item\+step_name'"):
        read(path, columns={"user": "item+step_name"})


# --- spreadsheets and tables in memory -----------------------------------------------------------


def book(folder, rows, name="x.xlsx", more=()):
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    for title in more:
        workbook.create_sheet(title).append(["other"])
    path = folder / name
    workbook.save(path)
    return path


def test_a_spreadsheet(tmp_path):
    day = pd.Timestamp
    rows = [
        ["Student", "Skill", "Correct", "Time", None],
        [12, "s", True, day("2024-03-02 10:00").to_pydatetime(), None],
        [None, None, None, None, None],
        [12.0, "t", False, day("2024-03-01 10:00").to_pydatetime(), None],
    ]
    table, note = read(book(tmp_path, rows, more=("Notes",)))
    assert answers(table) == [("12", "t", 0, None), ("12", "s", 1, None)]
    assert "only the first sheet 'Sheet' is read, not 'Notes'" in str(note)
    at = pd.Timestamp("2024-03-02")
    days = [["user", "skill", "correct", "Date", "Time"]]
    days += [
        ["a", s, 1, at.to_pydatetime(), t.time()]
        for s, t in (("x", at + pd.Timedelta("10h")), ("y", at))
    ]
    table, note = read(book(tmp_path, days, "days.xlsx"))
    assert table["skill"].tolist() == ["y", "x"] and "by Date+Time" in str(note)
    rows[3][2] = "maybe"
    with pytest.raises(KTError, match="line 4: response 'maybe'"):
        read(book(tmp_path, rows))
    rows[3].append("more")
    with pytest.raises(KTError, match="row 4: more fields than the header"):
        read(book(tmp_path, rows))
    with pytest.raises(KTError, match="the sheet 'Sheet' is empty"):
        read(book(tmp_path, []))
    with pytest.raises(KTError, match="not a readable spreadsheet .*save it again, or as CSV"):
        read(write(tmp_path, "y.xlsx", b"PK\x03\x04 not really"))


def test_a_table_in_memory_is_read_as_a_file():
    lists = pd.DataFrame({"user": ["a"] * 4, "correct": 1})
    lists["skill"] = [np.array(["x", "y"]), ("y", "x"), {"x"}, [2, 1]]
    assert read_dataset(lists).table["skill"].tolist() == ["x+y", "x+y", "x", "1+2"]
    for wrong in ({"skill": [{}] * 4}, {"item": [["x"]] * 4}):
        with pytest.raises(KTError, match="holds values of type .*; write one row for each"):
            read_dataset(lists.assign(**wrong))
    frame = pd.DataFrame(
        {
            "user": pd.Categorical(["a", "a", "b"]),
            "skill": [2.0, 1.0, np.nan],
            "correct": [True, False, True],
            "time": pd.to_datetime(["2024-03-02", "2024-03-01", "2024-03-01"]),
        },
        index=[5, 5, 7],
    )
    dataset = read_dataset(frame, name="mine")
    assert answers(dataset.table) == [("a", "1", 0, None), ("a", "2", 1, None)]
    assert dataset.note.source == "mine" and dataset.note.counts == {LATE: 1, NO_SKILL: 1}
    for wrong in (np.nan, 2, "maybe"):
        with pytest.raises(KTError, match="mine, line 1: response"):
            read_dataset(frame.assign(correct=[wrong, 1, 1]), name="mine")


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
