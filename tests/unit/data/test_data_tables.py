"""Tables: every cell becomes the number it should, in every format, and new tables alike."""

import io
import json
import sys

import numpy as np
import pytest
import torch

import selftrain as st
from selftrain import strategies
from selftrain.data import Pile, TableEncoding, TableViews, from_path, from_table
from selftrain.errors import DataError

pandas = pytest.importorskip("pandas")

CSV = """id,size,color,zip,kind
r1,1.0,red,007,cat
r2,2.0,,010,dog
r3,,blue,007,
r4,5.0,red,010,-1
r5,4.0,green,,cat
r6,nan,blue,007,NA
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def rows(pile):
    """All training rows by id."""
    found = {}
    for part in (pile.labeled, pile.unlabeled):
        if part is not None:
            found |= dict(zip(part.ids, part.images(np.arange(len(part))).tolist(), strict=True))
    return found


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# --- cells


def test_cells_become_numbers(table):
    pile = from_table(table, "kind", id="id", categorical=["zip"])
    assert list(pile.classes) == ["cat", "dog"]
    assert dict(zip(pile.labeled.ids, pile.labeled.annotations.tolist(), strict=True)) == {"r1": 0, "r2": 1, "r5": 0}
    assert list(pile.unlabeled_ids()) == ["r3", "r4", "r6"]
    encoding = TableEncoding.from_dict(pile.encoding)
    assert list(encoding.features) == ["size", "color", "zip", "size?missing"]
    assert list(encoding.categorical) == [1, 2, 3]
    assert encoding.cardinalities == {1: 4, 2: 3, 3: 2}
    mean, std = 3.0, np.std([1, 2, 5, 4])
    size = {"r1": 1, "r2": 2, "r3": mean, "r4": 5, "r5": 4, "r6": mean}
    colors = {"": 0, "blue": 1, "green": 2, "red": 3}
    color = {"r1": "red", "r2": "", "r3": "blue", "r4": "red", "r5": "green", "r6": "blue"}
    zips = {"r1": 1, "r2": 2, "r3": 1, "r4": 2, "r5": 0, "r6": 1}
    for name, row in rows(pile).items():
        missing = float(name in ("r3", "r6"))
        assert row == pytest.approx([(size[name] - mean) / std, colors[color[name]], zips[name], missing])


def test_views_leave_codes_as_they_are_and_take_replacements_from_rows(table):
    pile = from_table(table, "kind", id="id", categorical=["zip"])
    assert isinstance(pile.views, TableViews)
    x = pile.unlabeled.images(np.arange(3))
    weak = pile.views("weak", x, torch.arange(3), 0).x
    assert torch.equal(weak[:, 1:], x[:, 1:])
    assert not torch.equal(weak[:, 0], x[:, 0])
    assert len(pile.views.bank) == 6


def test_large_numbers_keep_their_differences():
    stamps = [1.7e9 + i for i in range(8)]
    pile = from_table({"when": stamps})
    x = pile.unlabeled.images(np.arange(8))[:, 0]
    assert torch.allclose(x, torch.tensor((np.arange(8) - 3.5) / np.std(np.arange(8)), dtype=torch.float32), atol=1e-6)


def test_a_column_without_spread_or_without_values():
    pile = from_table({"same": [2.0, 2.0, 2.0], "none": [None, None, None], "x": [1, 2, 3]})
    assert list(TableEncoding.from_dict(pile.encoding).features) == ["same", "x"]
    assert pile.unlabeled.images(np.arange(3))[:, 0].tolist() == [0, 0, 0]


def test_numbers_are_what_programs_write():
    """1_000, digits of other scripts and 007A are names and no numbers."""
    for strange in ("1_000", "٣", "007A"):
        pile = from_table({"x": [strange, "2", "3"]})
        assert list(TableEncoding.from_dict(pile.encoding).categorical) == [0], strange
    for number in ("1e3", "-.5", "+7", " 8 "):
        assert not TableEncoding.from_dict(from_table({"x": [number, "2"]}).encoding).categorical, number


def test_labels_that_are_numbers_are_sorted_by_value():
    pile = from_table({"x": range(5), "y": [10, 9, 2.0, None, -1]}, "y")
    assert list(pile.classes) == ["2", "9", "10"]
    assert pile.labeled.annotations.tolist() == [2, 1, 0]
    assert len(pile.unlabeled) == 2


# --- formats


def frame():
    return pandas.read_csv(io.StringIO(CSV), dtype={"zip": str})


def as_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    frame().to_parquet(path)
    return path


def as_arrow(tmp_path):
    return pytest.importorskip("pyarrow").Table.from_pandas(frame())


FORMATS = {
    "frame": lambda tmp_path: frame(),
    "nullable": lambda tmp_path: frame().convert_dtypes(),
    "category": lambda tmp_path: frame().astype({"color": "category"}),
    "parquet": as_parquet,
    "arrow": as_arrow,
    "mapping": lambda tmp_path: {name: frame()[name].tolist() for name in frame().columns},
    "semicolons": lambda tmp_path: write(tmp_path / "s.csv", CSV.replace(",", ";")),
    "tabs": lambda tmp_path: write(tmp_path / "s.tsv", CSV.replace(",", "\t")),
    "mark": lambda tmp_path: write(tmp_path / "bom.csv", "\ufeff" + CSV),
    "windows": lambda tmp_path: write(tmp_path / "w.csv", CSV.replace("\n", "\r\n")),
}


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_pile(table, tmp_path, make):
    settings = {"label": "kind", "id": "id", "categorical": ["zip"]}
    one, other = from_table(table, **settings), from_table(make(tmp_path), **settings)
    assert rows(one) == rows(other)
    assert one.labeled.annotations.tolist() == other.labeled.annotations.tolist()
    assert one.encoding == other.encoding


def test_truth_values_are_names_in_every_format(tmp_path):
    path = write(tmp_path / "b.csv", "b,x\nTrue,1\nFalse,2\n")
    one, other = from_table(path), from_table(pandas.DataFrame({"b": [True, False], "x": [1, 2]}))
    assert one.encoding == other.encoding
    assert rows(one) == rows(other)


def test_a_csv_needs_no_other_library(table, monkeypatch):
    for name in ("pandas", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(from_table(table, "kind").labeled) == 3
    with pytest.raises(ImportError, match=r"selftrain\[table\]"):
        from_table(table.with_suffix(".parquet"), "kind")


def test_an_index_that_was_saved_is_no_feature(tmp_path):
    path = tmp_path / "i.csv"
    pandas.DataFrame({"x": [1.0, 2.0]}).to_csv(path)
    with pytest.warns(UserWarning, match="column without a name"):
        pile = from_table(path)
    assert list(TableEncoding.from_dict(pile.encoding).features) == ["x"]
    pandas.DataFrame({"x": [1.0, 2.0]}, index=[5, 9]).to_parquet(tmp_path / "i.parquet")
    assert list(TableEncoding.from_dict(from_table(tmp_path / "i.parquet").encoding).features) == ["x"]


# --- parts


def test_further_tables_are_encoded_alike(table):
    more = {"size": [9.0, 1.0], "color": ["black", "red"], "zip": ["007", None], "other": [1, 2]}
    test = {"size": ["3", ""], "color": ["violet", "red"], "zip": ["999", "010"], "kind": ["dog", "cat"]}
    pile = from_table(table, "kind", unlabeled=more, test=test, validation=test, categorical=["zip"], drop=["id"])
    assert [len(p) for p in (pile.labeled, pile.unlabeled, pile.validation, pile.test)] == [3, 5, 2, 2]
    assert pile.unlabeled_ids()[-2:] == ["unlabeled/0", "unlabeled/1"]
    encoding = TableEncoding.from_dict(pile.encoding)
    assert encoding.columns[1].vocabulary == ["black", "blue", "green", "red"]  # of training rows, labeled or not
    assert encoding.columns[0].mean == pytest.approx(22 / 6)
    x = pile.test.images(np.arange(2))
    assert x[:, 1].tolist() == [0, 4]  # violet was never seen
    assert x[:, 2].tolist() == [0, 2]
    assert x[:, 3].tolist() == [0, 1]
    assert x[1, 0] == 0
    assert pile.test.annotations.tolist() == [1, 0]


def test_the_encoding_travels(table, tmp_path):
    first = from_table(table, "kind", id="id", categorical=["zip"])
    encoding = TableEncoding.from_dict(json.loads(json.dumps(first.encoding)))
    encoding.save(tmp_path / "encoding.json")
    card = write(tmp_path / "export.json", json.dumps({"input": first.card()}))
    new = {"size": [100.0, 1.0], "color": ["red", "new"], "zip": ["010", "1"], "kind": ["dog", ""]}
    expected = encoding.encode(new)
    without_labels = {name: cells for name, cells in new.items() if name != "kind"}
    assert len(from_table(without_labels, encoding=encoding).unlabeled) == 2
    for given in (encoding, first.encoding, tmp_path / "encoding.json", card):
        with pytest.warns(UserWarning, match="no label for class cat"):
            pile = from_table(new, encoding=given)
        assert list(pile.classes) == ["cat", "dog"]
        assert pile.labeled.annotations.tolist() == [1]
        x = np.concatenate([pile.labeled.images(np.arange(1)), pile.unlabeled.images(np.arange(1))])
        assert np.array_equal(x, expected)


@pytest.mark.slow
def test_the_encoding_is_in_the_export_of_a_run(table, tmp_path):
    pile = from_table(table, "kind", id="id", categorical=["zip"])
    make = st.learner(lambda: torch.nn.Linear(4, 2), lr=0.01)
    strategy = strategies.PseudoLabel(st.Classification(2), make)
    st.fit(strategy, pile, out=tmp_path / "run", steps=2, plan=st.BatchPlan(2), self_check=False)
    again = from_table(table, encoding=tmp_path / "run" / "export.json", id="id")
    assert again.encoding == pile.encoding
    assert rows(again) == rows(pile)


def test_the_encoding_stays_with_changed_piles(table):
    pile = from_table(table, "kind", id="id", categorical=["zip"])
    assert pile.reviewed({"r3": 0}).encoding == pile.encoding
    assert pile.normalized_as(pile.card()).encoding == pile.encoding
    assert "table" not in Pile.from_arrays(np.zeros((4, 2)), [0, 0, 0, -1]).card()


def test_rows_can_be_shown_to_a_person(table):
    pile = from_table(table, "kind", id="id", categorical=["zip"])
    encoding = TableEncoding.from_dict(pile.encoding)
    assert encoding.decode(rows(pile)["r1"]) == {"size": "1", "color": "red", "zip": "007"}
    assert encoding.decode(rows(pile)["r3"]) == {"size": "", "color": "blue", "zip": "007"}


def test_a_table_is_found_by_its_path(table):
    assert len(from_path(table, label="kind").labeled) == 3
    assert len(from_path(table.rename(table.with_suffix(".CSV")), label="kind").labeled) == 3


def test_labels_that_are_held_back_are_not_trained_on(table):
    pile = from_table(table, "kind", validation=1)
    assert [len(part) for part in (pile.labeled, pile.validation, pile.unlabeled)] == [2, 1, 3]
    assert set(pile.labeled.ids).isdisjoint(pile.validation.ids)


# --- what cannot be used


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("a,b\n1,2\n3\n", {}, "line 3: 1 cells, but 2 columns"),
        ("a,b\n1,2\n3,inf\n", {}, r"line 3: b is 'inf', which is no finite number"),
        ("a,b\n1,2\n3,1e999\n", {}, r"line 3: b is '1e999'"),
        ("a,a\n1,2\n", {}, "two columns 'a'"),
        ("", {}, "is empty"),
        ("a,b\n", {}, "has no rows"),
        ("a,y\n1,x\n", {"label": "label"}, "no column 'label'; its columns are a, y"),
        ("a,y\n1,x\n", {"drop": ["z"]}, "no column 'z'"),
        ("a,y\n1,x\n", {"categorical": ["z"]}, "categorical names column 'z'; the columns are a, y"),
        ("a,y\n1,0.5\n", {"label": "y"}, None),
        ("a,y\n1,0\n2,1\n", {"label": "y", "classes": ["0"]}, "row 1: label '1' is no class"),
        ("i,a\np,1\np,2\n", {"id": "i"}, "row 1: id 'p' occurs twice"),
        ("i,a\np,1\n,2\n", {"id": "i"}, "line 3: i is missing"),
        ("y\na\n", {"label": "y"}, "no column to learn from"),
        ('a,b\n1,"2\n', {}, "unexpected end of data"),
    ],
)
def test_messages_name_file_line_and_value(tmp_path, text, settings, message):
    path = write(tmp_path / "t.csv", text)
    if message is None:  # 0.5 is text in a CSV and a name like any other
        assert list(from_table(path, **settings).classes) == ["0.5"]
        return
    with pytest.raises(DataError, match=message) as caught:
        from_table(path, **settings)
    assert "t.csv" in str(caught.value) or "row" in str(caught.value) or "categorical" in str(caught.value)


def test_a_column_of_too_many_names_is_refused_with_the_cell(tmp_path):
    lines = [f"{i},name {i}" for i in range(150)]
    path = write(tmp_path / "t.csv", "\n".join(["x,who", *lines]))
    with pytest.raises(DataError, match=r"line 2: who is 'name 0'.* 150 different ones.*columns=\{'who': 'drop'\}"):
        from_table(path)
    assert len(from_table(path, drop=["who"]).unlabeled) == 150
    assert len(from_table(path, max_categories=200).unlabeled) == 150
    cells = [str(i) for i in range(50, 200)] + [f"7{sign}" for sign in "abcdefghijklmnopqrst"]
    with pytest.raises(DataError, match="row 150: x is '7a'"):  # the cell that should be a number is the one named
        from_table({"x": cells})


def test_a_new_table_must_have_numbers_where_numbers_are_expected(table):
    encoding = TableEncoding.from_dict(from_table(table, "kind", id="id", categorical=["zip"]).encoding)
    with pytest.raises(DataError, match="row 1: size is 'big'"):
        encoding.encode({"size": ["1", "big"], "color": ["red", "red"], "zip": ["1", "1"]})
    with pytest.raises(DataError, match="no column 'zip'"):
        encoding.encode({"size": [1.0], "color": ["red"]})


def test_measured_numbers_are_no_labels():
    with pytest.raises(DataError, match="row 1: y is 0.25, a measured number and no class"):
        from_table({"x": [1, 2], "y": [1.0, 0.25]}, "y")


def test_a_column_of_no_cells_may_be_left_out():
    rows = {"v": [[1, 2], [3], [4]], "a": [1.5, 2.5, 3.5], "b": ["1,5", "2,5", "3,5"], "y": ["p", "q", "p"]}
    pile = from_table(rows, "y", columns={"v": "drop"})
    encoding = TableEncoding.from_dict(pile.encoding)
    assert list(encoding.features) == ["a", "b"]
    assert np.allclose(encoding.encode(rows), pile.labeled.images(np.arange(3)))
    assert pile.summary.columns[-1].name == "v"
    with pytest.raises(DataError, match="'v' holds list"):  # where it is needed
        from_table(rows, "v")


def test_things_that_are_no_tables_or_cells(tmp_path):
    with pytest.raises(DataError, match="ndarray is no table"):
        from_table(np.zeros((3, 2)))
    with pytest.raises(DataError, match="different lengths"):
        from_table({"a": [1, 2], "b": [1]})
    with pytest.raises(DataError, match="'v' holds list"):
        from_table({"v": [[1, 2], [3]]})
    with pytest.raises(DataError, match="too far to calculate with"):
        from_table({"v": [1e308, -1e308, 1e308]})
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="whole Parquet file"):
        from_table(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_bytes("größe\n1\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        from_table(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"there is no file .*missing\.csv"):
        from_table(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="test or validation table but no label"):
        from_table({"x": [1, 2]}, test={"x": [1]})
    with pytest.raises(DataError, match="label -1 at row 0 of the test samples"):
        from_table({"x": [1, 2], "y": ["a", "b"]}, "y", test={"x": [1], "y": [""]})
    (tmp_path / "e.json").write_text("[]")
    with pytest.raises(DataError, match="e.json cannot be read: the content is .*TableEncoding.save"):
        from_table({"x": [1]}, encoding=tmp_path / "e.json")
    with pytest.raises(DataError, match="no table encoding"):
        from_table({"x": [1]}, encoding={"columns": [{"nam": 1}]})
