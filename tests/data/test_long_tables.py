"""Long tables of any kind: values, columns, and which rows are one answer."""

from __future__ import annotations

import pytest
from reading import read, write
from test_formats import RIIID, STEP, TX, answers, eedi

from kt_core.base.errors import KTError
from kt_core.data.reading.options import AGAIN, ALIKE, FURTHER, HEADERS, NO_LEARNER, NO_SKILL

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
