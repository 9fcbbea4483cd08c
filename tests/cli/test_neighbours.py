"""medcbir neighbours: rows that programs read, in every format."""

import csv
import io
import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

RunMedcbir = Callable[..., CompletedProcess[str]]

COLUMNS = {
    "silhouette": "average,group,queries,defined,own_only,none_own,value,std",
    "hubness": "k,index,never_retrieved,most_occurrences,mean_occurrences,skewness,bad_share",
    "hubs": "k,image_id,occurrences,bad_occurrences,dataset,label,uri,frame",
}


@pytest.mark.parametrize("command", COLUMNS)
def test_rows_of_a_run_in_every_format(filled: str, run_medcbir: RunMedcbir, command: str) -> None:
    done = run_medcbir("neighbours", command, "first", "--format", "csv", "--database-url", filled)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.stdout.splitlines()[0] == COLUMNS[command]
    found = json.loads(
        run_medcbir("neighbours", command, "--format", "json", "--database-url", filled).stdout  # the newest run
    )
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in found] == rows
    for output, begins in (("markdown", "| "), ("latex", "\\begin{tabular}"), ("table", "")):
        done = run_medcbir("neighbours", command, "first", "--format", output, "--database-url", filled)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(begins)


def test_numbers_of_the_made_run(filled: str, run_medcbir: RunMedcbir) -> None:
    """Six queries with five hits each among twelve index images, of three classes that lie apart."""

    def rows(*arguments: object) -> list[dict[str, str]]:
        done = run_medcbir("neighbours", *arguments, "--format", "csv", "--database-url", filled)
        return list(csv.DictReader(io.StringIO(done.stdout)))

    (five,) = rows("hubness", "-k", "5")
    assert (five["k"], five["index"], float(five["mean_occurrences"])) == ("5", "12", 30 / 12)
    hubs = rows("hubs", "-k", "5", "--limit", 30)
    assert sum(int(row["occurrences"]) for row in hubs) == 30
    assert len(hubs) == 12 - int(five["never_retrieved"])
    assert sum(int(row["bad_occurrences"]) for row in hubs) == pytest.approx(30 * float(five["bad_share"]))
    micro, macro, *classes = rows("silhouette")
    assert (len(classes), micro["queries"], macro["queries"]) == (3, "6", "6")
    assert 0 < float(micro["value"]) < 1


def test_agreement_needs_two_runs(filled: str, run_medcbir: RunMedcbir) -> None:
    done = run_medcbir("neighbours", "agreement", "first", "--database-url", filled)
    assert (done.returncode, done.stderr) == (1, "Error: give two or more different runs\n")
