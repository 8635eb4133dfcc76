"""The public data sets that have a name: where their files are, with a checksum of each."""

from __future__ import annotations

from dataclasses import dataclass

RAW = "https://raw.githubusercontent.com"
AKT = f"{RAW}/arghosh/AKT/01b7e8d7d7c862cabc9467108e3e7f2555653a88/data"
GERVET = (
    f"{RAW}/theophilee/learner-performance-prediction/a7ae193aa6957003a764aed7c95b07666fd4f1da/data"
)


@dataclass(frozen=True)
class Public:
    """Files of a public repository at one commit.

    Attributes
    ----------
    files : file name -> SHA-256.
    test_files : the files whose learners are the test split.
    names : the file of the skills' names, as JSON, where the answers have numbers.
    best_auc : an AUC above all published ones; a model that exceeds it has a leak to find.
    """

    about: str
    home: str
    format: str
    files: dict[str, str]
    test_files: tuple[str, ...] = ()
    names: str = ""
    best_auc: float = 1.0


PUBLIC: dict[str, Public] = {
    "assist2015": Public(
        "ASSISTments 2015 skill builders, pyKT's split",
        f"{RAW}/pykt-team/pykt-toolkit/f766468f1d3083f737e5fde22a17a08de0d52552/data/assist2015",
        "pykt",
        {
            "train_valid.csv": "83ff2090d1ddaa6295854984733b699b52fa3b656d7c814d6c9da56822964ac7",
            "test.csv": "518d8f6c81d487d5c342eedd9a46b4160c974945247baf16e01b432a3101d154",
        },
        test_files=("test.csv",),
        best_auc=0.74,
    ),
    "assist2009": Public(
        "ASSISTments 2009 skill builders with items, AKT's files",
        f"{AKT}/assist2009_pid",
        "akt",
        {
            f"assist2009_pid_test{part}.csv": digest
            for part, digest in enumerate(
                (
                    "7a1cb2bc8045dbe1016253fdd1dc831b26580638e15a7b7b99c5d7c73d3c3915",
                    "547c17ad179e850edc7a8a8a1e74a2e371e5eaeafcb2c375b7ae53248e733db0",
                    "deb07f638f84e391c170ca3bdc87eb07001c8034e6f5b87817876378b20ff3ee",
                    "b6a8edbe565cfae154ccae93584d69d7bd99a8341ac3e481ea1c569b9239ecc3",
                    "be0b93bd7f94c4d489f2950eb818d2a6d96ebd5ddb2342ee152695d504c40fa5",
                ),
                start=1,
            )
        },
    ),
    "assist2017": Public(
        "ASSISTments 2017 with items and names of skills, AKT's files",
        f"{AKT}/assist2017_pid",
        "akt",
        {
            **{
                f"assist2017_pid_test{part}.csv": digest
                for part, digest in enumerate(
                    (
                        "32d1580467edb4b87ec9773fada2e3439c820c0640d5e618a80f49b2a9bcd582",
                        "c40e2eb18e3079cedc92af1a0a9eeceebd3a5d43fc9da4df8f16009e96197857",
                        "504ce41c75545f2f43ea1a6c228ef032596a0d8bd3819fa013aab4c558d2c2a4",
                        "fe758a0e545eb51594e5ee8cee01ae1898d7f3a8ef5f87c86df4bacfa6ea8800",
                        "7659d973bf2517105070b573444d39e7899323fee28cf93bf3c921363eaedc5c",
                    ),
                    start=1,
                )
            },
            "skill.json": "100e4c47b82a33582343998c5e245156ea2ab04ed4209aa34a6b2cb459be1ff1",
        },
        names="skill.json",
    ),
    "statics2011": Public(
        "Statics 2011, a university course, with items",
        f"{GERVET}/statics",
        "long",
        {
            "preprocessed_data.csv": "6633163dc95f3d13fb39efe4e366c905"
            "a3b7f636085e46fe0c815a9f9fdd9d03"
        },
    ),
    "algebra2005": Public(
        "Algebra 2005, a cognitive tutor, with items (a fifth of the learners)",
        f"{GERVET}/algebra05",
        "long",
        {
            "preprocessed_data_test.csv": "9bc39d8dbb5c22b7264250710366408a"
            "fb133a9e03c3263a3442aa6d114a57ef"
        },
    ),
    "memphis": Public(
        "Memphis statistics cloze experiment, the practice, with items",
        f"{RAW}/Optimal-Learning-Lab/LKT/7231b4f8847c6c425ac69da7041d64829e4e4b23/data",
        "memphis",
        {"largerawsample.rda": "8871aaa7515aeb914566b200945249edcd3db67f89056e740159de3b7d4c559d"},
    ),
}
