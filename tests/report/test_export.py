"""Tables for a paper and for a spreadsheet: escaped, rounded, and with their intervals."""

import logging

import numpy as np
import pandas as pd
import pytest

import kt_core as kt
from kt_core.base.errors import KTError

TABLE = pd.DataFrame(
    {
        "measure": ["AUC", "50% & more_$x^{2}~\\"],
        "value": [0.72751, np.nan],
        "low": [0.7229, np.nan],
        "high": [0.7319, np.nan],
        "gap": [-0.0101, 0.2],
        "gap_low": [-0.02, np.nan],
        "gap_high": [0.0, np.nan],
        "answers": [1234567, 3],
        "inside": [True, False],
        "draws": [np.zeros(3), np.zeros(3)],
    }
)


def test_latex_has_values_with_their_intervals_and_escaped_names():
    lines = kt.to_latex(TABLE, caption="All & sundry", label="tab:all").splitlines()
    assert r"\caption{All \& sundry}" in lines and r"\label{tab:all}" in lines
    assert r"\begin{tabular}{lllrr}" in lines
    assert r"measure & value & gap & answers & inside \\" in lines
    first = r"AUC & 0.728 [0.723, 0.732] & $-$0.010 [$-$0.020, 0.000] & 1{,}234{,}567 & yes \\"
    assert first in lines
    assert (
        r"50\% \& more\_\$x\textasciicircum{}\{2\}\textasciitilde{}\textbackslash{} & -- & "
        r"0.200 & 3 & no \\"
    ) in lines


def test_the_tables_of_a_model_go_through():
    demo = kt.demo()
    for table in (demo.mastery().head(3), demo.evaluate()):
        text = kt.to_latex(table)
        assert text.count("[") == len(table) and "low" not in text


def test_csv_is_rounded_and_safe_for_a_spreadsheet(tmp_path, caplog):
    table = TABLE.assign(measure=["=1+1", "-a"], none=[None, "x"])
    table = table.rename(columns={"inside": "=inside"})
    with caplog.at_level(logging.WARNING, "kt_core"):
        path = kt.to_csv(table, tmp_path / "t.csv", digits=3)
    assert "3 names begin as formulas do" in caplog.text
    assert path.read_text().splitlines() == [
        "measure,value,low,high,gap,gap_low,gap_high,answers,'=inside,none",
        "'=1+1,0.728,0.723,0.732,-0.01,-0.02,0.0,1234567,True,",
        "'-a,,,,0.2,,,3,False,x",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kt.to_latex({"a": 1}), "expected a pandas DataFrame, not {'a': 1}"),
        (lambda: kt.to_latex(TABLE, digits=-1), "digits = -1: must be between 0 and 15"),
        (lambda: kt.to_latex(pd.DataFrame([[1, 2]], columns=["a", "a"])), "two columns have the"),
        (
            lambda: kt.to_latex(pd.DataFrame([[1, 2]], columns=["a_b", "a b"])),
            "two columns would be called 'a b'",
        ),
        (lambda: kt.to_csv(TABLE, "t.parquet"), "t.parquet: name it .csv"),
        (lambda: kt.to_csv(TABLE, "nowhere/t.csv"), "there is no folder"),
    ],
)
def test_what_is_no_table_is_refused(call, message):
    with pytest.raises(KTError, match=message):
        call()
